"""Where the elements of a JSON array stand, found by quotes and brackets; nothing is judged.

So the rows of a large file are counted, and a few of them found, in a fraction of the time that
reading all of them takes. An odd number of quotes before a bracket or a comma means that it stands
in a string; quotes and backslashes behind a backslash do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.data.sources.text import LONGEST

_AT_ONCE = 1 << 18
_SPACE = b" \t\r\n"
_QUOTE, _COMMA, _CLOSING = b'",]'
_MARKS = bytes(sign in b'"{}[],' for sign in range(256))
_DEEPER = np.zeros(256, np.int64)
_DEEPER[list(b"{[")] = 1
_DEEPER[list(b"}]")] = -1


class Unsound(ValueError):
    """Quotes or brackets do not close; whoever reads all of it can tell where."""


class Element(NamedTuple):
    """One of the array."""

    number: int
    """From 1."""
    text: str
    """Without the white space around it."""
    line: int
    column: int


def count(file: Iterable[bytes]) -> int:
    """Elements of the array that a file is, in pieces of UTF-8.

    Raises:
        Unsound: it does not end.
    """
    found, head = 0, b""
    for content, ends in _pieces(file):
        found += len(ends)
        if len(head) < 2:
            head = (head + content.translate(None, _SPACE)[:2])[:2]
    return 0 if head == b"[]" else found


def some(file: Iterable[bytes], numbers: Sequence[int]) -> Iterator[Element]:
    """Some elements of the array that a file is.

    Args:
        file: in pieces of UTF-8, cut anywhere.
        numbers: of the elements, from 1, ascending.

    Raises:
        Unsound: it does not end, has no such element, or that is not UTF-8.
    """
    wanted = np.asarray(numbers, np.int64)
    before, line, column = 0, 1, 1  # elements that have ended; place of the first one that has not
    begun: list[bytes] = []
    for content, ends in _pieces(file):
        begun.append(content)
        if not len(ends):
            continue
        text, at = b"".join(begun), 0
        borders = [text.index(b"[") + 1 if before == 0 else 0]
        borders += (ends + (len(text) - len(content) + 1)).tolist()
        first, last = np.searchsorted(wanted, (before + 1, before + len(borders)))
        for number in wanted[first:last].tolist():
            start, end = borders[number - before - 1], borders[number - before] - 1
            inside = text[start:end].lstrip(_SPACE)
            line, column = _after(text[at : end - len(inside)], line, column)
            at = end - len(inside)
            try:
                value = inside.rstrip(_SPACE).decode()
            except UnicodeDecodeError:
                raise Unsound from None
            yield Element(number, value, line, column)
        before += len(ends)
        begun = [text[borders[-1] :]]
        line, column = _after(text[at : borders[-1]], line, column)
    if len(wanted) and wanted[-1] > before:
        raise Unsound


def _after(text: bytes, line: int, column: int) -> tuple[int, int]:
    """The place behind a text that begins at a place."""
    last = text.rfind(b"\n")
    width = len(text[last + 1 :].decode(errors="replace"))
    return line + text.count(b"\n"), 1 + width if last >= 0 else column + width


def _pieces(file: Iterable[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
    """A file in pieces, up to the end of the array, and the offsets at which elements end."""
    quotes = depth = length = 0
    for content in _gathered(file):
        plain = content.replace(rb"\\", b"__").replace(rb"\"", b"__")
        at = np.flatnonzero(np.frombuffer(plain.translate(_MARKS), bool))
        signs = np.frombuffer(plain, np.uint8)[at]
        is_quote = signs == _QUOTE
        seen = quotes + np.cumsum(is_quote)
        outside = (seen & 1 == 0) & ~is_quote
        at, signs = at[outside], signs[outside]
        depths = depth + np.cumsum(_DEEPER[signs])
        closed = np.flatnonzero((signs == _CLOSING) & (depths == 0))[:1]
        upto = int(closed[0]) + 1 if len(closed) else len(at)
        ends = ((signs == _COMMA) & (depths == 1))[:upto]
        ends[closed] = True
        yield content, at[:upto][ends]
        if len(closed):
            return
        quotes, depth = int(seen[-1]) if len(seen) else quotes, int(depths[-1]) if upto else depth
        length = 0 if ends.any() else length + len(content)
        if length > 4 * LONGEST:
            break
    raise Unsound


def _gathered(file: Iterable[bytes]) -> Iterator[bytes]:
    """The same in larger pieces, none of which ends between a backslash and its escape."""
    waiting, length = [], 0
    for piece in file:
        waiting.append(piece)
        length += len(piece)
        if length >= _AT_ONCE:
            whole = b"".join(waiting)
            kept = whole.rstrip(b"\\")
            yield kept
            waiting = [whole[len(kept) :]]
            length = len(waiting[0])
    yield b"".join(waiting)
