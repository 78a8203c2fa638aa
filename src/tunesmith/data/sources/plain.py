"""Rows of a text file: each line is `{"text": line}`; blank lines are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.data.ledger import Skip
from tunesmith.data.sources.source import Row, Source, picked
from tunesmith.data.sources.text import lines, texts
from tunesmith.types import Origin

COLUMN = "text"
CARRIAGE_RETURN = "lone carriage return"


def rows(source: Source, dataset: str, only: Sequence[int] | None = None) -> Iterator[Row | Skip]:
    r"""Lines in order, as they stand there without their `\n` or `\r\n`; or `only` some.

    Raises:
        DataError: a file that cannot be read or unpacked, or another encoding.
    """
    wanted = picked(only)
    for number, (line, text) in enumerate(_filled(source), 1):
        if not wanted(number):
            continue
        origin = Origin(dataset, source.file, line, number)
        words = text.removesuffix("\r")
        if "\r" in words or "\0" in words:
            yield _refused(words, origin)
        else:
            yield Row({COLUMN: words}, origin)


def count(source: Source) -> int:
    """Lines that are rows.

    Raises:
        DataError: as `rows`.
    """
    return sum(1 for _ in _filled(source))


def _filled(source: Source) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(lines(texts(source), source.file), 1):
        if text and not text.isspace():
            yield line, text


def _refused(words: str, origin: Origin) -> Skip:
    at = next(at for at, sign in enumerate(words) if sign in "\0\r")
    place, got = f"{origin.file}:{origin.line}:{at + 1}", repr(words[at : at + 20])
    if words[at] == "\0":
        return Skip("NUL character", origin, place, got, "text without NUL", text=words)
    need, hint = "lines that end with a newline", converted(origin.file)
    return Skip(CARRIAGE_RETURN, origin, place, got, need, hint, words)


def converted(file: str) -> str:
    """The command for a file in which all lines end with a carriage return."""
    return f"if all lines end so: tr '\\r' '\\n' < {file} > {file}.unix"
