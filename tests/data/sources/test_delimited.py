"""csv and tsv are read as RFC 4180 has them; what is ragged or broken is told with its line."""

import csv
import io
import random

import pytest

from tunesmith.data.ledger import Skip
from tunesmith.data.rows import Row, open_sources, rows
from tunesmith.data.sources import raw, text
from tunesmith.errors import DataError


def read(tmp_path, text, name="a.csv"):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(rows(open_sources(file)[0], "d"))


def values(found):
    assert all(isinstance(row, Row) for row in found)
    return [tuple(row.values.values()) for row in found]


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("1,2", ("1", "2")),
        (",", ("", "")),
        ('"",""', ("", "")),
        ('"a,b","c""d"""', ("a,b", 'c"d"')),
        ('"a\n\nb",c\r', ("a\n\nb", "c")),
        ('a,"b\r\nc\rd"\r', ("a", "b\r\nc\rd")),
        (" a , b", (" a ", " b")),
        ("null,NaN", ("null", "NaN")),
        ("ü\u2028,\x0b\u0085", ("ü\u2028", "\x0b\u0085")),
        ('{},"[{""a"": 1}]"', ("{}", '[{"a": 1}]')),
    ],
)
def test_fields_are_text_as_it_stands_there(tmp_path, line, fields):
    assert values(read(tmp_path, f"x,y\n{line}\nlast,one")) == [fields, ("last", "one")]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_what_the_csv_module_writes_is_read_back(tmp_path, monkeypatch, name, seed):
    draw = random.Random(seed)
    monkeypatch.setattr(raw, "CHUNK", draw.randrange(1, 40))
    text = ["".join(draw.choices('ab ,\t"\nü', k=draw.randrange(8))) for _ in range(60)]
    table = [("x", "y", "z"), *zip(text[::3], text[1::3], text[2::3], strict=True)]
    sink = io.StringIO(newline="")
    separator = "," if name == "a.csv" else "\t"
    ends = draw.choice(["\n", "\r\n"])
    csv.writer(sink, delimiter=separator, lineterminator=ends).writerows(table)
    assert values(read(tmp_path, sink.getvalue(), name)) == table[1:]


def test_a_row_knows_the_line_on_which_it_begins(tmp_path):
    found = read(tmp_path, 'x,"y\nz"\n"1\n2",3\n\n\r\n"4\n\n",5\n6,7')
    assert [(row.origin.line, row.origin.row) for row in found] == [(3, 1), (7, 2), (10, 3)]


@pytest.mark.parametrize(
    ("bad", "reason", "place"),
    [
        ("1", "ragged row", "3"),
        ("1,2,3", "ragged row", "3"),
        ("  ", "ragged row", "3"),
        ('"a\nb"', "ragged row", "3"),
        ('"a"b,c', "broken quotes", "3:4"),
        ('a,"b\nc" ,', "broken quotes", "4:3"),
        ('a"b",c', "broken quotes", "3:2"),
        ('a,b"', "broken quotes", "3:4"),
        ("a,b\0", "NUL character", "3:4"),
        ('a,"\n\0"', "NUL character", "4:1"),
        ("a,b\rc", "lone carriage return", "3:4"),
        ('"a",b\rc', "lone carriage return", "3:6"),
    ],
)
def test_a_bad_row_does_not_hide_its_neighbours(tmp_path, bad, reason, place):
    first, skip, last = read(tmp_path, f"x,y\n1,2\n{bad}\n3,4\n")
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.place) == (reason, f"{tmp_path / 'a.csv'}:{place}")
    assert values([first, last]) == [("1", "2"), ("3", "4")]


def test_a_quote_within_a_field_of_tsv_stands_for_itself(tmp_path):
    found = read(tmp_path, 'x\ty\n5" disk\tsays "a"\n"q""\tr"\ts', "a.tsv")
    assert values(found) == [('5" disk', 'says "a"'), ('q"\tr', "s")]


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("a,b,a\n1,2,3", ":1", "two columns 'a'"),
        (",a\n0,1", ":1", "to_csv"),
        ("a,\n0,1", ":1", "no name for column 2"),
        ("a, b\n0,1", ":1", "the name ' b'"),
        ("a;b\n0;1", ":1", "one column 'a;b'"),
        ("\n\na\tb\n0\t1", ":3", "one column"),
        ("a,b\r1,2\r", ":1:4", "tr "),
        ("a,\0b\n1,2\n", ":1:3", "NUL"),
        ('a"b",c\n1,2', ":1:2", "quotes around"),
        ('a,"b\n1,2\n3,4', ":1:3", "never closed"),
        ('a,b\n1,"2\n3,4\n', ":2:3", "never closed"),
        ("a,b\n1,é".encode("latin-1"), ":2: byte 6", "UTF-8"),
    ],
)
def test_a_file_without_sound_header_or_end_is_refused(tmp_path, text, place, told):
    with pytest.raises(DataError, match=told) as error:
        read(tmp_path, text)
    assert error.value.where == f"{tmp_path / 'a.csv'}{place}"


@pytest.mark.parametrize("text", ["a,b", "a,b\n", "\ufeffa,b\r\n", "\n\na,b\n\n"])
def test_a_header_alone_has_no_rows(tmp_path, text):
    assert read(tmp_path, text) == []


@pytest.mark.parametrize("text", ["\n", "\r\n\n", "\ufeff", "\ufeff\n"])
def test_blank_lines_alone_are_an_empty_file(tmp_path, text):
    with pytest.raises(DataError, match="an empty file"):
        read(tmp_path, text)


def test_an_open_quote_does_not_take_the_rest_of_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST", 1000)
    monkeypatch.setattr(raw, "CHUNK", 100)
    file = tmp_path / "a.csv"
    file.write_bytes(b'a\n"' + b"0123456789\n" * 1000 + b"\xff")  # which is not reached
    with pytest.raises(DataError, match="never closed"):
        list(rows(open_sources(file)[0], "d"))
