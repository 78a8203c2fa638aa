"""parquet and arrow become the plain values of JSON, without nulls that nobody wrote."""

import datetime
import decimal
import random
import sys

import pyarrow as pa
import pytest

from data_files import TALKS, write
from tunesmith.data.ledger import Skip
from tunesmith.data.rows import Row, open_sources, rows
from tunesmith.errors import DataError

FORMS = [("a.parquet", {}), ("a.arrow", {"form": "stream"}), ("a.arrow", {"form": "file"})]


def read(file, columns=None):
    return list(rows(open_sources(file)[0], "d", columns=columns))


def values(file, **options):
    found = read(file, **options)
    assert not [row for row in found if isinstance(row, Skip)]
    return [row.values for row in found if isinstance(row, Row)]


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_what_one_row_lacks_is_not_invented_for_it(tmp_path, name, options):
    rows_of_json = [
        {"tools": '[{"a": null}]', "c": [{"role": "u", "call": {"x": 1}}, {"role": "a"}]},
        {"other": 1.5, "c": [{"role": "t", "call": {"y": [None, "z"]}}]},
        {"other": 2.5, "c": [], "flag": False, "n": 0, "empty": ""},
    ]
    assert values(write(tmp_path / name, rows_of_json, **options)) == rows_of_json


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_rows_are_numbered_over_all_batches(tmp_path, name, options):
    said = [{"a": number} for number in range(5000)]
    found = read(write(tmp_path / name, said, **options))
    assert [row.values for row in found if isinstance(row, Row)] == said
    assert [(r.origin.line, r.origin.row) for r in found] == [(n, n) for n in range(1, 5001)]


KINDS = {
    "large text": (pa.large_string(), ["a", None]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", None]),
    "half": (pa.float16(), [1.5, None]),
    "unsigned": (pa.uint64(), [2**64 - 1, None]),
    "lists": (pa.list_(pa.list_(pa.int8(), 2)), [[[1, 2], None], None]),
    "map": (pa.map_(pa.string(), pa.float32()), [{"k": 1.5, "l": None}, None]),
    "null": (pa.null(), [None, None]),
    "list of structs": (
        pa.large_list(pa.struct({"a": pa.int8(), "b": pa.string()})),
        [[{"a": 1}, None, {}], None],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_types_that_json_has_are_read_in_every_width(tmp_path, kind):
    of, said = KINDS[kind]
    given = [list(v.items()) if kind == "map" and v else v for v in said]
    table = pa.table({"x": pa.array(given, of)})
    expected = [{} if value is None else {"x": value} for value in said]
    assert values(write(tmp_path / "a.arrow", table)) == expected


FOREIGN = {
    "timestamp": (pa.timestamp("us"), datetime.datetime(2020, 1, 2)),
    "far timestamp": (pa.timestamp("s"), 10**15),
    "date": (pa.date32(), datetime.date(2020, 1, 2)),
    "time": (pa.time32("s"), 5),
    "duration": (pa.duration("s"), 5),
    "decimal": (pa.decimal128(5, 2), decimal.Decimal("1.50")),
    "binary": (pa.binary(), b"\xff\xd8"),
    "nan": (pa.float32(), float("nan")),
    "infinity": (pa.float64(), float("-inf")),
    "struct of binary": (pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"bytes": b"x"}),
    "list of nan": (pa.list_(pa.float64()), [1.0, float("nan")]),
    "map twice": (pa.map_(pa.string(), pa.int8()), [("a", 1), ("a", 2)]),
    "map of numbers": (pa.map_(pa.int8(), pa.int8()), [(1, 2)]),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_what_json_does_not_have_makes_a_bad_row_where_it_is_read(tmp_path, name, kind):
    of, value = FOREIGN[kind]
    if name == "a.parquet" and kind in ("duration", "far timestamp"):
        of = pa.timestamp("ms")
    table = pa.table({"said": ["a", "b", "c"], "x": pa.array([None, value, None], of)})
    file = write(tmp_path / name, table)
    first, bad, last = read(file)
    assert isinstance(bad, Skip)
    assert bad.place == f"{file}:2: x"
    assert bad.reason in ("not a value of JSON", "NaN or Infinity")
    assert str(bad.got)
    assert bad.need
    assert [row.values for row in (first, last) if isinstance(row, Row)] == [
        {"said": "a"},
        {"said": "c"},
    ]
    assert [row["said"] for row in values(file, columns=["said"])] == ["a", "b", "c"]


def test_the_type_of_a_value_is_told_with_it(tmp_path):
    table = pa.table({"x": pa.array([b"\xff\xd8"])})
    (bad,) = read(write(tmp_path / "a.parquet", table))
    assert isinstance(bad, Skip)
    assert bad.got == "2 bytes (binary)"


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_two_columns_of_one_name_and_no_columns_are_refused(tmp_path, name, options):
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="two columns 'a'"):
        read(write(tmp_path / name, twice, **options))
    with pytest.raises(DataError, match="no columns"):
        read(write(tmp_path / name, pa.table({}), **options))


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("a.parquet", b"x" * 100, "magic"),
        ("a.parquet", b"PAR1", "smaller"),
        ("a.parquet", b"[{}]" * 10, "magic"),
        ("a.arrow", b"[{}]" * 10, "mark of the end"),
        ("a.arrow", b"x", "mark of the end"),
        ("a.arrow", b"ARROW1\0\0" + b"x" * 50, "Not an Arrow file"),
    ],
)
def test_what_is_no_such_file_is_one_error(tmp_path, name, raw, told):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=told) as error:
        read(tmp_path / name)
    assert error.value.where == str(tmp_path / name)
    assert "damaged or cut off" in error.value.need


def test_a_stream_that_ends_between_two_batches_is_refused(tmp_path):
    file = write(tmp_path / "a.arrow", [{"a": n} for n in range(10)])
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match="mark of the end"):
        read(file)


@pytest.mark.parametrize("words", [b"some text", b"some field", b"some column"])
def test_text_and_names_that_are_not_utf8_are_refused(tmp_path, words):
    file = write(tmp_path / "a.arrow", [{"some column": [{"some field": "some text"}]}])
    file.write_bytes(file.read_bytes().replace(words, words[:-2] + b"\xff\xff"))
    with pytest.raises(DataError, match=r"UTF8|utf-8"):
        read(file)


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_a_damaged_file_is_read_or_refused_and_crashes_nothing(tmp_path, name, options):
    sound = write(tmp_path / name, TALKS * 3, **options).read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        raw = bytearray(sound)
        for _ in range(draw.choice([1, 2, 5])):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        (tmp_path / name).write_bytes(raw)
        try:
            read(tmp_path / name)
        except DataError:
            refused += 1
    assert refused > 100


def test_a_missing_library_is_told_with_the_command(tmp_path, monkeypatch):
    file = write(tmp_path / "a.parquet", [{"a": 1}])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError) as error:
        read(file)
    assert error.value.hint == "pip install 'tunesmith[parquet]'"
