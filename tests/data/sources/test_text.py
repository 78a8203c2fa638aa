"""Pieces of text say what the whole text says, wherever it is cut into pieces."""

import pytest

from tunesmith.data import strict_json
from tunesmith.data.sources import text
from tunesmith.data.sources.source import Source
from tunesmith.data.sources.text import Window, lines, texts
from tunesmith.errors import DataError


def chunked(monkeypatch, raw, size):
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    monkeypatch.setattr(text, "chunks", lambda path, packing: iter(pieces))


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_characters_that_a_piece_cuts_come_out_whole(monkeypatch, tmp_path, encoding, size):
    words = "[Grüße, 世界 😀\u2028\n\r\n"
    chunked(monkeypatch, words.encode(encoding), size)
    assert "".join(texts(Source(tmp_path, "text"))) == words


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"ab\nc\xe4\xb8", "2: byte 4"),
        (b"ab\nc\xffd\n", "2: byte 4"),
        ("世\n界".encode() + b"\xed\xa0\x80", "2: byte 7"),
        (b"\xef\xbb\xbf[\n\xff]", "2: byte 5"),
        ("ਊ\nab".encode("utf-16")[:-1], "2: byte 8"),
        (b"\xff\xfea\x00\n\x00\x00\xd8\n\x00", "2: byte 6"),
        ("abc".encode("utf-32"), "1: byte 0"),
    ],
)
def test_the_first_byte_that_does_not_fit_is_the_same_in_all_pieces(
    monkeypatch, tmp_path, raw, place, size
):
    chunked(monkeypatch, raw, size)
    with pytest.raises(DataError) as error:
        list(texts(Source(tmp_path, "text")))
    assert error.value.where == f"{tmp_path}:{place}"


def test_the_command_that_converts_is_not_given_for_a_packed_file(monkeypatch, tmp_path):
    for packing, hint in [(None, True), ("gzip", False)]:
        chunked(monkeypatch, "中文".encode("gb18030"), 100)
        with pytest.raises(DataError) as error:
            list(texts(Source(tmp_path, "text", packing)))
        assert ("iconv" in error.value.hint) is hint


@pytest.mark.parametrize("words", ["", "a", "a\n", "\n", "\n\na\n\nb", "a\r\nb\u2028c\x0b\n\n"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_lines_end_at_newlines_only(words, size):
    pieces = [words[at : at + size] for at in range(0, len(words), size)]
    whole = words.split("\n")
    assert list(lines(pieces, "a.txt")) == (whole if whole[-1] else whole[:-1])


VALUES = '[{"a": "x\\u00e9\\n"}, [1, 2.5e3], -12,\n "b" ,1e5, true, null,\n\n{}  ]'


@pytest.mark.parametrize("size", [1, 2, 3, 10, 100])
def test_a_window_reads_values_that_pieces_cut(monkeypatch, size):
    monkeypatch.setattr(text, "_WINDOW", 1)
    window = Window(VALUES[at : at + size] for at in range(0, len(VALUES), size))
    assert window.space() == "["
    window.at += 1
    found = []
    while not found or window.comma():
        place = window.place(window.at)
        found.append(window.value())
        lost = len(VALUES) - len(window.text) if window.complete else None
        assert lost is None or VALUES.endswith(window.text)
    assert found == strict_json.parse(VALUES)[0]
    assert place == (4, 1)
    assert window.space() == "]"


def test_a_window_holds_little_more_than_a_value(monkeypatch):
    monkeypatch.setattr(text, "_WINDOW", 100)
    window = Window('{"a": 1},' for _ in range(10_000))
    for _ in range(9_000):
        window.value(longest=1000)
        assert window.comma()
        assert len(window.text) < 300


def test_a_window_gives_up_on_a_value_that_is_too_long(monkeypatch):
    monkeypatch.setattr(text, "_WINDOW", 100)
    window = Window(["[", *["1,"] * 10_000])
    with pytest.raises(strict_json.Unfinished):
        window.value(longest=1000)
    assert len(window.text) < 5000


def test_a_value_refused_far_from_the_end_is_refused_before_all_is_read(monkeypatch):
    monkeypatch.setattr(text, "_WINDOW", 100)
    window = Window(['{"a" 1}', *[" " * 50] * 10_000])
    with pytest.raises(strict_json.Refused):
        window.value(longest=1000)
    assert len(window.text) < 1000
