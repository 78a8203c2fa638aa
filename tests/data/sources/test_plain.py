"""Each line of a text file is a row."""

import pytest

from tunesmith.data.ledger import Skip
from tunesmith.data.rows import Row, open_sources, rows


def read(tmp_path, raw):
    (tmp_path / "a.txt").write_bytes(raw)
    return list(rows(open_sources(tmp_path / "a.txt")[0], "d"))


def test_lines_keep_what_they_hold_and_know_where_they_stand(tmp_path):
    found = read(tmp_path, '\n a \r\n\n \t\r\n"b\u2028c"\x0b\n'.encode())
    assert [(row.origin.line, row.origin.row) for row in found] == [(2, 1), (5, 2)]
    assert [r.values for r in found if isinstance(r, Row)] == [
        {"text": " a "},
        {"text": '"b\u2028c"\x0b'},
    ]


@pytest.mark.parametrize(
    ("bad", "reason", "column"),
    [(b"x\0y", "NUL character", 2), (b"one\rtwo\r", "lone carriage return", 4)],
)
def test_characters_that_no_text_has_make_a_bad_row(tmp_path, bad, reason, column):
    _, skip, last = read(tmp_path, b"a\n" + bad + b"\nb")
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.place) == (reason, f"{tmp_path / 'a.txt'}:2:{column}")
    assert isinstance(last, Row)
