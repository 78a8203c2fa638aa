"""Rows are found with their lines, whatever the layout; broken files name their place."""

import json
import os
import subprocess
import sys

import pytest

from data_files import ALPACA, TALKS, write
from tunesmith.data import strict_json
from tunesmith.data.ledger import Skip
from tunesmith.data.rows import Row, file_digest, files, open_sources, rows
from tunesmith.data.rows import count as counted
from tunesmith.errors import DataError


def read(tmp_path, text, name="a.json"):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (source,) = open_sources(file)
    return list(rows(source, "d"))


ROWS = [{"a": "x\u2028y\u0085z\x0b"}, {"a": "\n"}, {"b": [1, {"c": None}]}]
LAYOUTS = {
    "array.json": json.dumps(ROWS, ensure_ascii=False),
    "indented.json": json.dumps(ROWS, indent=2),
    "lines.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "ended.jsonl": "\n".join(json.dumps(row) for row in ROWS) + "\n",
    "windows.jsonl": "\r\n".join(json.dumps(row) for row in ROWS) + "\r\n",
    "blank.jsonl": "\n\n" + "\n \n".join(json.dumps(row) for row in ROWS) + "\n\n",
    "really_lines.json": "\n".join(json.dumps(row) for row in ROWS),
    "really_array.jsonl": json.dumps(ROWS, indent=2),
    "one_line.JSON": json.dumps(ROWS),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_layout_and_encoding_gives_the_same_rows(tmp_path, name, encoding):
    found = read(tmp_path, LAYOUTS[name].encode(encoding), name)
    assert [row.values for row in found if isinstance(row, Row)] == ROWS
    assert [row.origin.row for row in found] == [1, 2, 3]


def test_a_row_knows_the_line_on_which_it_begins(tmp_path):
    assert [r.origin.line for r in read(tmp_path, LAYOUTS["indented.json"])] == [2, 5, 8]
    assert [r.origin.line for r in read(tmp_path, LAYOUTS["blank.jsonl"], "b.jsonl")] == [3, 5, 7]
    (row, *_) = read(tmp_path, "\n\n[\n\n\n  {}]")
    assert str(row.origin) == f"{tmp_path / 'a.json'}:6 (row 1)"


@pytest.mark.parametrize("name", ["really_lines.json", "really_array.jsonl"])
def test_a_file_named_otherwise_than_it_is_is_read_with_a_note(tmp_path, name):
    file = tmp_path / name
    file.write_text(LAYOUTS[name])
    note = open_sources(file)[0].note
    assert note is not None
    assert str(file) in note


@pytest.mark.parametrize("name", ["array.json", "lines.jsonl"])
def test_a_file_named_as_it_is_has_no_note(tmp_path, name):
    file = tmp_path / name
    file.write_text(LAYOUTS[name], encoding="utf8")
    assert open_sources(file)[0].note is None


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ('{"a": 1, "a": 2}', "duplicate key", 10),
        ('{"a": NaN}', "NaN or Infinity", 7),
        ('{"a": "\\ud800"}', "lone surrogate", 8),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "nested too deep", 70),
        ('{"a": ' + "9" * 4301 + "}", "number too large", 7),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_refused_row_does_not_hide_its_neighbours(tmp_path, name, row, reason, column):
    parts = ['{"k": 1}', row, '{"k": 2}']
    text = "[" + ",\n".join(parts) + "\n]" if name == "a.json" else "\n".join(parts)
    first, bad, last = read(tmp_path, text, name)
    assert isinstance(first, Row)
    assert isinstance(bad, Skip)
    assert isinstance(last, Row)
    assert (bad.reason, bad.place) == (reason, f"{tmp_path / name}:2:{column}")
    assert (last.values, last.origin.row, last.origin.line) == ({"k": 2}, 3, 3)


@pytest.mark.parametrize("value", ["null", "1", '"x"', "[]", "true"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_row_that_is_no_object_is_a_bad_row(tmp_path, name, value):
    text = f"[{{}},\n{value}]" if name == "a.json" else f"{{}}\n{value}"
    bad = read(tmp_path, text, name)[1]
    assert isinstance(bad, Skip)
    assert (bad.reason, bad.place) == ("not an object", f"{tmp_path / name}:2")


@pytest.mark.parametrize("cut", range(1, len('[{"a": "b\\n"},\n {"c": [1, 2.5]}\n]')))
def test_an_array_that_is_cut_anywhere_is_refused_with_its_end(tmp_path, cut):
    text = '[{"a": "b\\n"},\n {"c": [1, 2.5]}\n]'[:cut]
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    last = text.count("\n") + 1
    assert error.value.where.startswith(f"{tmp_path / 'a.json'}:{last}:")
    assert "cut off" in str(error.value) or "2." in text


@pytest.mark.parametrize("cut", range(1, len('{"c": [1, 2.5]}')))
def test_lines_that_are_cut_lose_only_the_last_and_it_is_named(tmp_path, cut):
    good, bad = read(tmp_path, '{"a": 1}\n' + '{"c": [1, 2.5]}'[:cut], "a.jsonl")
    assert isinstance(good, Row)
    assert isinstance(bad, Skip)
    assert bad.reason == "not JSON"
    assert bad.place.startswith(f"{tmp_path / 'a.jsonl'}:2:")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        (" \n\n", ""),
        ("null", ":1:1"),
        ('\n"x"', ":2:1"),
        ("hello", ":1:1"),
        ('{"data": [{"a": 1}]}', ":1"),
        ('{\n"data": [\n{"a": 1}]}', ":1"),
        ("[{}] {}", ":1:6"),
        ("[{}\n{}]", ":2:1"),
        ("[{},]", ":1:5"),
        ("[,{}]", ":1:2"),
        ("[{'a': 1}]", ":1:3"),
        ('[{"a": 1},\n{"b" 2}]', ":2:6"),
    ],
)
def test_a_json_file_that_is_no_array_of_objects_is_refused(tmp_path, text, place):
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    assert error.value.where == f"{tmp_path / 'a.json'}{place}"


def test_rows_under_a_key_are_named(tmp_path):
    with pytest.raises(DataError, match="stand under 'data'"):
        read(tmp_path, '{"data": [{"a": 1}]}')


def test_an_empty_array_has_no_rows(tmp_path):
    assert read(tmp_path, " [ ] ") == []


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        open_sources(tmp_path / "none.json")
    with pytest.raises(DataError, match="name too long"):
        open_sources(tmp_path / ("x" * 1000 + ".json"))
    with pytest.raises(DataError, match="not UTF-8"):
        open_sources(tmp_path / "\udcff.json")


TYPES = ["json", "jsonl", "csv", "tsv", "parquet", "arrow"]
PACKINGS = ["", ".gz", ".zst"]


def contents(path, **options):
    """Values of all rows of a path; there are no bad ones."""
    found = [row for source in open_sources(path) for row in rows(source, "d", **options)]
    assert not [row for row in found if isinstance(row, Skip)]
    return [row.values for row in found if isinstance(row, Row)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", TYPES)
def test_alpaca_rows_are_the_same_from_every_type_and_packing(tmp_path, kind, packing):
    assert contents(write(tmp_path / f"a.{kind}{packing}", ALPACA)) == ALPACA


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", TYPES)
def test_conversations_are_the_same_from_every_type_and_packing(tmp_path, kind, packing):
    found = contents(write(tmp_path / f"a.{kind}{packing}", TALKS))
    if kind in ("csv", "tsv"):  # a cell is text; the layout says which cells are JSON
        for row in found:
            row["conversations"] = strict_json.parse(row["conversations"])[0]
    assert found == TALKS


@pytest.mark.parametrize("packing", PACKINGS)
def test_lines_of_a_text_file_are_rows_in_every_packing(tmp_path, packing):
    said = [{"text": "a\u2028b"}, {"text": '  "c", d\t'}]
    assert contents(write(tmp_path / f"a.TXT{packing}".lower(), said)) == said


def test_a_folder_is_its_files_in_natural_order_whatever_their_types(tmp_path):
    names = ["part-1.jsonl", "part-2.json.gz", "part-9.csv", "part-10.parquet", "part-11.tsv.zst"]
    for number, name in reversed(list(enumerate(names))):
        write(tmp_path / name, [{"instruction": str(number), "output": name}])
    sources = open_sources(tmp_path)
    assert [source.path.name for source in sources] == names
    assert files(tmp_path) == [source.path for source in sources]
    assert files(tmp_path / "a.json") == [tmp_path / "a.json"]
    assert [row["output"] for row in contents(tmp_path)] == names
    assert [row.origin.row for source in sources for row in rows(source, "d")] == [1] * 5


def test_a_file_in_a_folder_that_cannot_be_read_is_one_error(tmp_path):
    write(tmp_path / "a.json", ALPACA)
    os.symlink("b.json", tmp_path / "b.json")
    with pytest.raises(DataError, match="symbolic links") as error:
        open_sources(tmp_path)
    assert error.value.where == str(tmp_path / "b.json")


def test_notes_on_a_folder_come_with_its_first_file(tmp_path):
    write(tmp_path / "a.json", ALPACA)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "b.jsonl").write_text("[]")
    first, second = open_sources(tmp_path)
    assert first.note == f"{tmp_path}: left aside: README.md"
    assert second.note is not None


@pytest.mark.parametrize("name", ["a.xlsx", "a.json.bz2", "a", "json", "a.gz", "a.zst.json5"])
def test_a_type_that_is_not_read_is_refused_with_those_that_are(tmp_path, name):
    (tmp_path / name).write_text("[]")
    with pytest.raises(DataError, match=r"\.parquet") as error:
        open_sources(tmp_path / name)
    assert error.value.where == str(tmp_path / name)


EMPTY = [f"a.{kind}{packing}" for kind in [*TYPES, "txt"] for packing in PACKINGS]


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_file_of_any_type_is_one_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match="an empty file"):
        open_sources(tmp_path / name)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.txt"])
def test_a_byte_order_mark_alone_has_no_rows(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf")
    try:
        assert contents(tmp_path / name) == []
    except DataError as error:
        if "an empty file" not in str(error):
            raise


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "txt"])
def test_tables_and_text_are_the_same_in_every_unicode_encoding(tmp_path, kind, encoding):
    said = [{"text": "Grüße 世界"}, {"text": "a, b"}]
    file = write(tmp_path / f"a.{kind}", said)
    file.write_bytes(file.read_text(encoding="utf8").encode(encoding))
    assert contents(file) == said


def test_a_digest_is_that_of_the_bytes_on_disk(tmp_path):
    file = write(tmp_path / "a.json.gz", ALPACA)
    before = file_digest(file)
    file.write_bytes(file.read_bytes() + b"\0")
    assert len(before) == 32
    assert file_digest(file) != before


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", [*TYPES, "txt"])
def test_a_file_that_is_cut_at_any_byte_is_refused_or_loses_only_its_end(tmp_path, kind, packing):
    said = [{"text": str(number) + "é"} for number in range(3)]
    raw = write(tmp_path / f"a.{kind}{packing}", said).read_bytes()
    file = tmp_path / f"cut.{kind}{packing}"
    for end in range(len(raw)):
        file.write_bytes(raw[:end])
        try:
            found = [row for source in open_sources(file) for row in rows(source, "d")]
        except DataError as error:
            if not error.where.startswith(str(file)):
                raise
            continue
        assert kind in ("jsonl", "csv", "tsv", "txt"), f"cut at {end} of {len(raw)}"
        assert not packing, f"cut at {end} of {len(raw)}"
        whole = [row.values for row in found[:-1] if isinstance(row, Row)]
        assert whole == said[: max(len(found) - 1, 0)]


@pytest.mark.parametrize("kind", [*TYPES, "txt"])
def test_a_row_of_a_hundred_million_characters_is_read(tmp_path, kind):
    said = [{"text": "x, y " * 20_000_000}, {"text": "z"}]
    file = write(tmp_path / f"a.{kind}", said)
    # anything that takes quadratic time would not come to an end here
    assert contents(file) == [{"text": row["text"].rstrip("\n")} for row in said]


PEAK = """
import sys
from pathlib import Path
from tunesmith.data.rows import open_sources, rows
count = sum(1 for source in open_sources(Path(sys.argv[1])) for _ in rows(source, "d"))
status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the parent at fork
print(count, status.split("VmHWM:")[1].split()[0])
"""


def peak(file):
    """Rows of a file, and the most memory that a process needs to read it, in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True
    )
    count, most = done.stdout.split()
    return int(count), int(most)


def many(file, count):
    """Write short rows without holding them."""
    opening, between, closing = {"json": ("[", ",\n", "]")}.get(file.suffix[1:], ("", "\n", ""))
    with file.open("w") as out:
        out.write(opening)
        for number in range(count):
            row = f'{{"instruction": "Question {number}", "output": "Answer {number}"}}'
            out.write((between if number else "") + row)
        out.write(closing)
    return file


@pytest.mark.parametrize("kind", ["json", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_memory_is_the_same_for_a_million_rows_as_for_a_tenth(tmp_path, kind):
    few, all_rows = (many(tmp_path / f"{n}.{kind}", n) for n in (100_000, 1_000_000))
    (count, least), (million, most) = peak(few), peak(all_rows)
    assert (count, million) == (100_000, 1_000_000)
    assert most < 1.05 * least, f"{least} KiB, {most} KiB"


@pytest.mark.parametrize("name", ["a.json.gz", "a.csv", "a.txt.zst", "a.parquet", "a.arrow"])
def test_memory_is_the_same_for_many_rows_of_every_type(tmp_path, name):
    options = {"a.parquet": {"row_group_size": 2000}, "a.arrow": {"batch": 2000}}.get(name, {})
    found = {}
    for count in (50_000, 250_000):
        said = [{"text": f"{number} and some words on it"} for number in range(count)]
        file = tmp_path / f"{count}.{name.partition('.')[2]}"
        found[count] = peak(write(file, said, **options))
    (few, least), (every, most) = found.values()
    assert (few, every) == (50_000, 250_000)
    assert most < 1.1 * least, f"{least} KiB, {most} KiB"


def assert_any_can_be_picked(path):
    """Rows of a file are as many as are counted, and each comes alone as it comes with the others,
    fault and place included."""
    (source,) = open_sources(path)
    whole = list(rows(source, "d"))
    assert counted(source) == len(whole)
    for only in ([], range(1, len(whole) + 1), *([n] for n in range(1, len(whole) + 1))):
        assert list(rows(source, "d", only=list(only))) == [whole[n - 1] for n in only]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_rows_of_every_layout_are_counted_and_picked(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(LAYOUTS[name].encode(encoding))
    assert_any_can_be_picked(tmp_path / name)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", [*TYPES, "txt"])
def test_rows_of_every_type_are_counted_and_picked(tmp_path, kind, packing):
    said = [{"text": f"{i}: words"} for i in range(40)] if kind == "txt" else ALPACA * 3
    assert_any_can_be_picked(write(tmp_path / f"a.{kind}{packing}", said))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_rows_are_picked_across_batches(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", [{"a": str(i)} for i in range(3000)])
    only = [1, 1024, 1025, 2048, 2500, 3000]
    assert [int(row["a"]) + 1 for row in contents(path, only=only)] == only


@pytest.mark.parametrize("glue", [",", ",\n  "])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_bad_rows_are_counted_and_picked_at_their_places(tmp_path, name, glue):
    bad = ['{"a": 1, "a": 2}', '{"a": NaN}', "3", '{"é": "\\ud800"}', "{}"]
    text = "\n".join(bad) if name == "a.jsonl" else f"[{glue.join(bad)}]"
    (tmp_path / name).write_text(text, encoding="utf8")
    assert_any_can_be_picked(tmp_path / name)


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b": 2}', '[{"a": 1} {"b": 2}]', '[{"a": }, {}]'])
def test_a_broken_array_is_told_as_when_all_of_it_is_read(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    (source,) = open_sources(tmp_path / "a.json")
    with pytest.raises(DataError) as whole:
        list(rows(source, "d"))
    with pytest.raises(DataError) as picked:
        list(rows(source, "d", only=[1, 2]))
    assert str(picked.value) == str(whole.value)
