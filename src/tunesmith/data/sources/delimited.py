r"""Rows of a csv or tsv file (RFC 4180), values are text as it stands there.

The first line has the names of the columns. A field in double quotes may hold the separator,
newlines, and quotes that are doubled; a quote within a field without quotes is refused in csv
and stands for itself in tsv. Lines end with `\n` or `\r\n`; blank lines are no rows. Nothing is
taken for a number, a date or a missing value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tunesmith.data.ledger import Skip
from tunesmith.data.sources import text as text_of
from tunesmith.data.sources.plain import CARRIAGE_RETURN, converted
from tunesmith.data.sources.source import Row, Source, empty, picked
from tunesmith.errors import DataError
from tunesmith.types import Origin

_SEPARATORS = {"csv": ",", "tsv": "\t"}
_NAMES = {",": "a comma", "\t": "a tab"}
_INSIDE = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # of quotes, up to the end of the line at most


class _Fault(NamedTuple):
    """Why a record is no row."""

    reason: str
    place: tuple[int, int]
    """Line and column, from 1."""
    got: str
    need: str
    hint: str = ""


def rows(source: Source, dataset: str, only: Sequence[int] | None = None) -> Iterator[Row | Skip]:
    """Records in order, named by the header; one with too few or too many fields is a `Skip`.

    With `only`, some of them (see `picked`).

    Raises:
        DataError: a file that cannot be read or unpacked, another encoding, a header with a name
            that is missing or comes twice, or a quote that is never closed.
    """
    file, wanted = source.file, picked(only)
    records = _Records(source)
    names = records.names()
    for number, (line, record) in enumerate(records.read(), 1):
        if not wanted(number):
            continue
        origin = Origin(dataset, file, line, number)
        if isinstance(record, _Fault):
            place = f"{file}:{record.place[0]}:{record.place[1]}"
            fault = record.got, record.need, record.hint
            yield Skip(record.reason, origin, place, *fault, records.text())
        elif len(record) != len(names):
            got = f"{len(record)} fields, the first {record[0][:80]!r}"
            need = f"{len(names)} fields, as the header has"
            yield Skip("ragged row", origin, f"{file}:{line}", got, need, text=records.text())
        else:
            yield Row(dict(zip(names, record, strict=True)), origin)


def count(source: Source) -> int:
    """Records below the header.

    Raises:
        DataError: as `rows`.
    """
    records = _Records(source)
    records.names()
    return sum(1 for _ in records.read())


class _Records:
    """Records of a file, and where a quote or a character breaks one."""

    def __init__(self, source: Source) -> None:
        self.file = source.file
        self.separator = _SEPARATORS[source.layout]
        self.lines = self._numbered(text_of.lines(text_of.texts(source), source.file))
        self.begun: list[str] = []
        """Lines of the record that is being read."""
        self.nul: tuple[int, int] | None = None
        """First NUL of the record that is being read."""

    def read(self) -> Iterator[tuple[int, list[str] | _Fault]]:
        """The line on which a record begins, and its fields."""
        for line, text in self.lines:
            if not text or text == "\r":
                self.begun.clear()
                continue
            if '"' in text:
                fields = self._quoted(line, text)
            elif "\r" in (text := text.removesuffix("\r")):
                fields = self._carriage_return((line, text.index("\r") + 1), text)
            else:
                fields = text.split(self.separator)
            if self.nul is not None:
                fields = _Fault("NUL character", self.nul, repr("\0"), "text without NUL")
                self.nul = None
            yield line, fields
            self.begun.clear()

    def text(self) -> str:
        """The record that was read last, as it stands there."""
        return "\n".join(self.begun).removesuffix("\r")

    def names(self) -> list[str]:
        """The names in the header."""
        line, names = next(self.read(), (1, None))
        if names is None:
            raise empty(self.file, "a header and at least one row")
        where = f"{self.file}:{line}"
        if isinstance(names, _Fault):
            where = f"{self.file}:{names.place[0]}:{names.place[1]}"
            raise DataError(where, got=names.got, need=names.need, hint=names.hint)
        need = "a header that names each column once"
        if "" in names:
            at = names.index("")
            pandas = "pandas wrote its index there: to_csv(..., index=False)" if at == 0 else ""
            raise DataError(where, got=f"no name for column {at + 1}", need=need, hint=pandas)
        for name in names:
            if names.count(name) > 1:
                raise DataError(where, got=f"two columns {name!r}", need=need)
            if name != name.strip():
                got, need = f"the name {name!r}", "names without white space at their ends"
                raise DataError(where, got=got, need=need)
        if len(names) == 1 and re.search("[;\t,|]", names[0]):
            need = f"names with {_NAMES[self.separator]} between them"
            hint = self._other(names[0])
            raise DataError(where, got=f"one column {names[0]!r}", need=need, hint=hint)
        return names

    def _other(self, header: str) -> str:
        """What to do about another separator."""
        used = max(";\t,|", key=header.count)
        for layout, separator in _SEPARATORS.items():
            if separator == used:
                return f"name the file .{layout}"
        other = f"pandas.read_csv({self.file!r}, sep={used!r})"
        return f"{other}.to_json('rows.jsonl', orient='records', lines=True) writes it anew"

    def _numbered(self, texts: Iterator[str]) -> Iterator[tuple[int, str]]:
        for line, text in enumerate(texts, 1):
            if "\0" in text and self.nul is None:
                self.nul = line, text.index("\0") + 1
            self.begun.append(text)
            yield line, text

    def _quoted(self, line: int, text: str) -> list[str] | _Fault:
        """Fields of a record with quotes; the lines that it goes on over are taken too."""
        fields, at = [], 0
        while True:
            if text.startswith('"', at):
                field, line, text, at = self._inside(line, text, at + 1)
                if text[at:] in ("", "\r"):
                    return [*fields, field]
                if text[at] != self.separator:
                    need = f"{_NAMES[self.separator]} or the end of the line after a closing quote"
                    return self._broken((line, at + 1), text[at:], need)
            else:
                end = text.find(self.separator, at)
                field = text[at:].removesuffix("\r") if end < 0 else text[at:end]
                if "\r" in field:
                    return self._carriage_return((line, at + field.index("\r") + 1), text)
                if '"' in field and self.separator == ",":
                    need = "quotes around the whole field"
                    return self._broken((line, at + field.index('"') + 1), field, need)
                if end < 0:
                    return [*fields, field]
                at = end
            fields.append(field)
            at += 1

    def _inside(self, line: int, text: str, at: int) -> tuple[str, int, str, int]:
        """A field from behind its opening quote on; then the line, its text, and where to go on."""
        opened, parts, length = (line, at), [], 0
        while True:
            found = _INSIDE.match(text, at)
            end = found.end() if found else at
            parts.append(text[at:end])
            if end < len(text):
                return "".join(parts).replace('""', '"'), line, text, end + 1
            length += end - at
            following = next(self.lines, None) if length < text_of.LONGEST else None
            if following is None:
                raise DataError(
                    f"{self.file}:{opened[0]}:{opened[1]}",
                    got="a quote that is never closed",
                    need="a closing quote; a quote within a field is doubled",
                )
            parts.append("\n")
            (line, text), at = following, 0

    def _broken(self, place: tuple[int, int], text: str, need: str) -> _Fault:
        return _Fault(
            "broken quotes", place, repr(text[:20]), f"{need}; a quote within a field is doubled"
        )

    def _carriage_return(self, place: tuple[int, int], text: str) -> _Fault:
        got, need = repr(text[place[1] - 1 :][:20]), "lines that end with a newline"
        return _Fault(CARRIAGE_RETURN, place, got, need, converted(self.file))
