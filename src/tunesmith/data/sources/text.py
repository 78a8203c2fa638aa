"""Text of a data file, a piece at a time: encodings, lines, and a window that moves on.

UTF-8 and UTF-16, with or without a byte order mark. Lines end at a newline only, whatever
Unicode calls a line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tunesmith.data import strict_json
from tunesmith.data.sources.raw import chunks
from tunesmith.data.sources.source import Source
from tunesmith.errors import DataError

_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_AHEAD = 32  # characters after the cursor that are there, so that errors can show them
_WINDOW = 1 << 16
LONGEST = 1 << 28
"""Characters of a row: what goes on longer has lost its end, and would fill the memory."""


def texts(source: Source) -> Iterator[str]:
    """The text of a file in pieces, of which some may be empty.

    Raises:
        DataError: a file that cannot be read or unpacked, or another encoding, with the offset of
            the first byte (of the unpacked text) that does not fit.
    """
    pieces = chunks(source.path, source.packing)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 4:
            break
    encoding, skip = strict_json.encoding_of(head)
    decoder = codecs.getincrementaldecoder(encoding)()
    at, line = skip, 1  # the first byte that was not fed, the line of the first not decoded
    for piece in chain([head[skip:]], pieces, [b""]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding).count("\n")
            raise strict_json.other_encoding(
                error.object[error.start :],
                where=f"{source.file}:{line}: byte {at - pending + error.start}",
                encoding=encoding,
                file=None if source.packing else source.file,
            ) from None
        at += len(piece)
        line += text.count("\n")
        yield text


def utf8(source: Source) -> Iterator[bytes]:
    """The same as bytes of UTF-8, in pieces that are cut anywhere and not judged where they are it.

    Raises:
        DataError: as `texts`, but for UTF-8 that is none.
    """
    pieces = chunks(source.path, source.packing)
    head = next(pieces, b"")
    while len(head) < 4 and (piece := next(pieces, b"")):
        head += piece
    encoding, skip = strict_json.encoding_of(head)
    if encoding == "utf-8":
        yield head[skip:]
        yield from pieces
    else:
        yield from (text.encode() for text in texts(source))


def lines(pieces: Iterable[str], file: str) -> Iterator[str]:
    """Lines without their newlines; what follows the last newline is one only if it has text.

    Raises:
        DataError: a line without end: a file of zeros, or packed to fill the memory.
    """
    begun: list[str] = []
    number, length = 1, 0  # of the line that is begun
    for text in pieces:
        found = text.split("\n")
        begun.append(found[0])
        if len(found) > 1:
            yield "".join(begun)
            begun = [found.pop()]
            yield from found[1:]
            number, length = number + len(found), len(begun[0])
        elif (length := length + len(text)) > LONGEST:
            raise DataError(f"{file}:{number}", got="a line without end", need=within_bounds())
    if any(begun):
        yield "".join(begun)


def within_bounds() -> str:
    """What is said of a row that goes on and on."""
    return f"rows of at most {LONGEST:,} characters"


class Window:
    """The part of a text around a cursor; what is behind it is let go.

    Offsets are those in `text`, and hold until the cursor is moved.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self.text = ""
        self.at = 0
        """The cursor."""
        self.began = 0
        """Where the value that was read last begins; its end is the cursor."""
        self.complete = False
        """Nothing follows `text`."""
        self._pieces = iter(pieces)
        self._line, self._counted = 1, 0  # of the offset up to which newlines are counted
        self._before = 0  # characters of the first line of `text` that were let go
        self._grow()

    def space(self) -> str:
        """Move over white space; returns the character there, "" at the end of the text."""
        while True:
            self.at = strict_json.space(self.text, self.at)
            if self.complete or self.at + _AHEAD < len(self.text):
                return self.text[self.at : self.at + 1]
            self._grow()

    def comma(self) -> bool:
        """Move over a comma and the white space around it; without one, over white space only."""
        found = _COMMA.match(self.text, self.at)
        if found and found.end() + _AHEAD < len(self.text):
            self.at = found.end()
            return True
        if self.space() != ",":
            return False
        self.at += 1
        self.space()
        return True

    def value(self, longest: int | None = None) -> Any:
        """Read a JSON value at the cursor and move behind it; a refused one leaves it there.

        Args:
            longest: give up on a value that is longer, in characters; `None`: than `LONGEST`.

        Raises:
            Refused: as `strict_json.parse`.
            Unfinished: the value is longer than `longest`.
        """
        while True:
            try:
                value, end = strict_json.parse(self.text, self.at, more=not self.complete)
            except strict_json.Unfinished:
                if len(self.text) - self.at > (longest or LONGEST):
                    raise
                self._grow()
            else:
                self.began, self.at = self.at, end
                return value

    def line(self) -> int:
        """Line of the cursor, from 1."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def place(self, at: int) -> tuple[int, int]:
        """Line and column of an offset not before the cursor, both from 1."""
        line = self.line() + self.text.count("\n", self.at, at)
        last = self.text.rfind("\n", 0, at)
        return line, at - last if last >= 0 else at + self._before + 1

    def _grow(self) -> None:
        """Let go of what is behind the cursor and take in as much again as is left."""
        self.line()
        last = self.text.rfind("\n", 0, self.at)
        self._before = self.at - last - 1 if last >= 0 else self._before + self.at
        parts = [self.text[self.at :]]
        missing = max(len(parts[0]), _WINDOW)
        while missing > 0:
            piece = next(self._pieces, None)
            if piece is None:
                self.complete = True
                break
            parts.append(piece)
            missing -= len(piece)
        self.text = "".join(parts)
        self.at = self._counted = 0
