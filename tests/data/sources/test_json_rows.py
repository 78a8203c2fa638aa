"""What is told of JSON does not depend on where the window ends; the rest is in `test_rows.py`."""

import json

import pytest

from tunesmith.data.ledger import Skip
from tunesmith.data.rows import open_sources, rows
from tunesmith.data.sources import json_rows, raw, text
from tunesmith.errors import DataError

GOOD = [{"a": "é😀\u2028", "b": [1, 2.5, -3e10, None, True]}, {"c": {"d": "\\ud83d\\ude00"}}]
FAULTS = [
    "",
    '{"a": 1, "a": 2}',
    '{"a": NaN, "b": "a long text that goes on and on and on until the window ends"}',
    '{"a": ' + "[" * 70 + "]" * 70 + "}",
    '{"a": ' + "9" * 4400 + ', "b": 1}',
    '{"a": "\\ud800 \\u0041"}',
    "12",
    "-1.5e7",
    '"text"',
    "null",
    '{"a" 1}',
    '{"a": "\\x"}',
    '{"a": tru}',
    '{"a": 1} {"b": 2}',
    '{"a": "cut',
    '{"a": ' + "[" * 70,
]


def told(tmp_path, content):
    """All that is said of a file: its rows, its bad rows, its error."""
    file = tmp_path / "a.json"
    file.write_bytes(content)
    found = []
    try:
        for row in rows(open_sources(file)[0], "d"):
            found.append(row)
    except DataError as error:
        found.append(error.as_dict())
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda v: v[:16])
def test_what_is_told_does_not_depend_on_where_the_window_ends(tmp_path, monkeypatch, fault):
    parts = [json.dumps(row, ensure_ascii=False) for row in GOOD]
    parts = [*parts, fault, *parts] if fault else parts
    content = ("\n [" + " ,\n".join(parts) + "\n]  ").encode()
    whole = told(tmp_path, content)
    assert any(isinstance(row, Skip | dict) for row in whole) is bool(fault)
    for size, window in [(1, 1), (7, 10), (64, 64), (100, 1000), (3, 4000)]:
        monkeypatch.setattr(raw, "CHUNK", size)
        monkeypatch.setattr(text, "_WINDOW", window)
        assert told(tmp_path, content) == whole


@pytest.mark.parametrize("end", ["", "]", "] x", "]\n\n[1]", ",", ",]", "x"])
def test_the_end_of_an_array_does_not_depend_on_where_the_window_ends(tmp_path, monkeypatch, end):
    content = ('[{"a": 1},\n{"b": 2}' + end).encode()
    whole = told(tmp_path, content)
    assert isinstance(whole[-1], dict) is (end != "]")
    for size, window in [(1, 1), (5, 5), (19, 30)]:
        monkeypatch.setattr(raw, "CHUNK", size)
        monkeypatch.setattr(text, "_WINDOW", window)
        assert told(tmp_path, content) == whole


def test_an_object_over_lines_is_refused_though_its_end_is_far(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "_LOOKED_AT", 1000)
    monkeypatch.setattr(raw, "CHUNK", 100)
    monkeypatch.setattr(text, "_WINDOW", 100)
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"a": 1}] * 10_000}, indent=1))
    with pytest.raises(DataError, match="got   one object"):
        open_sources(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "content", "place", "told"),
    [
        ("a.json", '[{"a": 1},\n{"b": "', ":2:1", "row 2, whose end does not come"),
        ("a.json", '[{"a": 1},\n{"b": [', ":2:1", "row 2, whose end does not come"),
        ("a.jsonl", '{"a": 1}\n{"b": "', ":2", "a line without end"),
        ("a.jsonl", "\0", ":1", "a line without end"),
        ("a.txt", "a\n\nb", ":3", "a line without end"),
        ("a.csv", "a\nb\nc", ":3", "a line without end"),
    ],
)
def test_a_row_without_end_does_not_fill_the_memory(
    tmp_path, monkeypatch, name, content, place, told
):
    monkeypatch.setattr(text, "LONGEST", 1000)
    monkeypatch.setattr(raw, "CHUNK", 100)
    monkeypatch.setattr(text, "_WINDOW", 100)
    file = tmp_path / name
    file.write_bytes(content.encode() + b"1, " * 2000 + b"\xff")  # which is not reached
    with pytest.raises(DataError) as error:
        list(rows(open_sources(file)[0], "d"))
    assert error.value.where == f"{file}{place}"
    assert told in error.value.got
    assert "at most 1,000 characters" in error.value.need


def test_a_file_that_changes_between_looking_and_reading_is_refused(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("[{}]")
    (source,) = open_sources(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="a moment ago"):
        list(rows(source, "d"))
