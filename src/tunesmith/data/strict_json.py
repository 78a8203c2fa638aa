"""Strict JSON: the C parser of the standard library, and a slow walker that finds the fault.

Refused besides broken syntax: duplicate keys, NaN and infinities, lone surrogates, nesting
deeper than 64, integers of more than 4300 digits. A number that Python would write otherwise
comes as a `Number`, with its text. A value that the fast path accepts is never walked. Rows of
files are in `sources/json_rows.py`.
"""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any, NoReturn

from tunesmith.data.sources.raw import open_binary
from tunesmith.errors import DataError
from tunesmith.templates.calls import MAX_DEPTH, Number, depth, dumps, fraction, integer, space

MAX_DIGITS = 4300
_WALKABLE_DEPTH = 200  # deeper than this the walker gives up, so it never overflows the stack

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_HIGH_THEN_LOW = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS = ("true", "false", "null")
_LONGEST_TOKEN = 32  # that can be cut: an escape, a word, the sign of an exponent
_INFINITE = ("NaN", "Infinity", "-Infinity")


class Refused(ValueError):
    """A JSON text that is not read, with the place of the fault.

    Args:
        reason: the kind of fault, a few words, the same for all faults of the kind.
        at: offset of the fault in the text, in characters.
        got: what stands there.
        need: the rule.

    After the walk `end` is the offset after the value, when its syntax is sound and reading
    can go on there; `began` is where the thing begins that the end of the text cuts off.
    """

    def __init__(self, reason: str, at: int, *, got: str, need: str) -> None:
        super().__init__(reason)
        self.reason, self.at, self.got, self.need = reason, at, got, need
        self.end: int | None = None
        self.began: int | None = None

    def told(self, line: int, column: int) -> tuple[str, str]:
        """Got and need for people: what broken syntax means, and where it stands."""
        if self.reason != "not JSON":
            return self.got, self.need
        got = f"{self.got} at line {line}, column {column}"
        return got, f"{self.need} there; as it is, this is not valid JSON"


class Unfinished(ValueError):
    """The text ends inside a value, and more of it follows."""


def parse(text: str, at: int = 0, *, more: bool = False) -> tuple[Any, int]:
    """Read one JSON value that begins at `at`; returns it and the offset after it.

    Args:
        text: what holds the value.
        at: where it begins.
        more: `text` is only a part: what its end may have cut is not judged.

    Raises:
        Refused: anything that strict JSON does not have.
        Unfinished: with `more`, a value that may go on after the end of `text`.
    """
    try:
        value, end = _scan(text, at)
    except (StopIteration, ValueError, RecursionError) as error:
        if more and _cut(text, at, error):
            raise Unfinished from None
        _explain(text, at)
    if more and end > len(text) - _LONGEST_TOKEN and isinstance(value, int | float | Number):
        raise Unfinished  # 1 may be the beginning of 12, 1.5 or 1e5
    brackets = text.count("{", at, end) + text.count("[", at, end)
    if brackets > MAX_DEPTH and depth(value) > MAX_DEPTH:
        _explain(text, at)
    escape = text.find("\\", at, end)  # much faster to find than the two characters after it
    escape = text.find("\\u", escape, end) if escape >= 0 else escape
    if escape >= 0 and _SURROGATE.search(text, escape, end) and not _encodes(value):
        _explain(text, at)
    return value, end


def walk(text: str, at: int = 0) -> tuple[int, dict[tuple[str | int, ...], int]]:
    """Judge one JSON value slowly; returns the offset after it and where everything stands.

    The places are keyed by path: `("columns", "prompt")` is the offset of that key,
    `("rows", 3)` that of the element.

    Raises:
        Refused: as in `parse`.
    """
    walker = _Walker(text)
    end = walker.value(at, ())
    if walker.first is not None:
        walker.first.end = end
        raise walker.first
    return end, walker.places


def line_and_column(text: str, at: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1; lines end at a newline only."""
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def decode(raw: bytes, file: str) -> str:
    """Bytes of a file as text: UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        DataError: another encoding, with the offset of the first byte that does not fit.
    """
    encoding, skip = encoding_of(raw)
    try:
        return raw[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        at = error.start + skip
        line = raw.count(b"\n", 0, at) + 1
        where = f"{file}:{line}: byte {at}"
        raise other_encoding(raw[at:], where=where, encoding=encoding, file=file) from None


def encoding_of(raw: bytes) -> tuple[str, int]:
    """Encoding of a text by its first four bytes, and the length of its byte order mark."""
    if raw.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-8", 0  # UTF-32: refused at byte 0 by the decoder
    if raw.startswith(b"\xef\xbb\xbf"):
        return "utf-8", 3
    if raw.startswith(b"\xff\xfe"):
        return "utf-16-le", 2
    if raw.startswith(b"\xfe\xff"):
        return "utf-16-be", 2
    if len(raw) > 3 and raw[1] == 0 and raw[0] != 0 and raw[3] == 0 and raw[2] != 0:
        return "utf-16-le", 0
    if len(raw) > 3 and raw[0] == 0 and raw[1] != 0 and raw[2] == 0 and raw[3] != 0:
        return "utf-16-be", 0
    return "utf-8", 0


def other_encoding(rest: bytes, *, where: str, encoding: str, file: str | None) -> DataError:
    """What is said of bytes that are no text of an encoding.

    Args:
        rest: the bytes from the first that does not fit on.
        where: its place.
        encoding: what the text was taken for.
        file: name for the command that converts it; `None`: there is none, it is packed.
    """
    hint = ""
    if file is not None:
        try:
            chinese = codecs.getincrementaldecoder("gb18030")().decode(rest)
            hint = (
                chinese and f"if it is Chinese text: iconv -f GB18030 -t UTF-8 {file} > {file}.utf8"
            )
        except UnicodeDecodeError:
            pass
    return DataError(
        where,
        got=f"{rest[:4].hex(' ')}, not {encoding}",
        need="a file in UTF-8 or UTF-16",
        hint=hint,
    )


def load(path: Path) -> tuple[Any, str]:
    """Read a whole JSON file; returns its value and its text (for places of later errors).

    Raises:
        DataError: a file that cannot be read, another encoding, or not strict JSON.
    """
    text = decode(read_bytes(path), str(path))
    try:
        value, end = parse(text, space(text, 0))
        if space(text, end) != len(text):
            raise Refused(
                "not JSON", space(text, end), got=_near(text, space(text, end)), need="the end"
            )
    except Refused as fault:
        line, column = line_and_column(text, fault.at)
        where = f"{path}:{line}:{column}"
        got, need = fault.told(line, column)
        raise DataError(where, got=got, need=need) from None
    return value, text


def read_bytes(path: Path) -> bytes:
    """All bytes of a file of the user.

    Raises:
        DataError: as `open_binary`.
    """
    with open_binary(path) as file:
        return file.read()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _integer(digits: str) -> int | Number:
    if len(digits) > MAX_DIGITS:
        raise ValueError("huge integer")
    return integer(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_float=fraction,
    parse_int=_integer,
)


_scan = _DECODER.scan_once  # pyright: ignore[reportAttributeAccessIssue] - of `raw_decode`
_LENIENT = json.JSONDecoder(parse_int=str, parse_float=str)


def _cut(text: str, at: int, error: Exception) -> bool:
    """Whether the end of the text may be what is wrong with a value."""
    if isinstance(error, StopIteration):
        return error.value > len(text) - _LONGEST_TOKEN
    if not isinstance(error, json.JSONDecodeError):  # a rule of ours, in a value that is whole?
        try:
            _LENIENT.raw_decode(text, at)
        except json.JSONDecodeError as syntax:
            error = syntax
        except RecursionError:
            return False
        else:
            return False
    return error.pos > len(text) - _LONGEST_TOKEN or error.msg.startswith("Unterminated")


def _explain(text: str, at: int) -> NoReturn:
    walk(text, at)
    raise AssertionError(f"the fast parser refused what the walker accepts: {text[at:][:80]!r}")


def _encodes(value: Any) -> bool:
    try:
        dumps(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _near(text: str, at: int) -> str:
    if at >= len(text):
        return "the end of the text: it is cut off"
    return repr(text[at : at + 20].split("\n")[0] or text[at])


class _Walker:
    """Recursive descent over one value; remembers the first fault that is not of syntax."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[tuple[str | int, ...], int] = {}
        self.first: Refused | None = None
        self.open: list[int] = []
        """Where the brackets that are open stand."""

    def value(self, at: int, path: tuple[str | int, ...]) -> int:
        self.places.setdefault(path, at)
        sign = self.text[at : at + 1]
        if sign in ("{", "["):
            return self._nested(at, path, sign)
        if sign == '"':
            return self._string(at)[0]
        for word in (*_WORDS, *_INFINITE):
            if self.text.startswith(word, at):
                if word in _INFINITE:
                    self._remember("NaN or Infinity", at, word, "a finite number or null")
                return at + len(word)
        return self._number(at)

    def _nested(self, at: int, path: tuple[str | int, ...], opening: str) -> int:
        level = len(path) + 1
        if level > MAX_DEPTH:
            need = f"at most {MAX_DEPTH} levels"
            self._remember("nested too deep", at, f"level {level} of nesting", need)
        if level > _WALKABLE_DEPTH:
            assert self.first is not None, "the depth was remembered above"
            raise self.first
        self.open.append(at)
        at = self._inside(at, path, opening)
        self.open.pop()
        return at

    def _inside(self, at: int, path: tuple[str | int, ...], opening: str) -> int:
        closing = "}" if opening == "{" else "]"
        start, number, keys = at, 0, set()
        at = space(self.text, at + 1)
        if self.text[at : at + 1] == closing:
            return at + 1
        while True:
            key: str | int = number
            if opening == "{":
                at, key = self._key(at, start, keys, path)
            at = space(self.text, self.value(at, (*path, key)))
            number += 1
            sign = self.text[at : at + 1]
            if sign == closing:
                return at + 1
            if sign != ",":
                self._broken(at, f"a comma or {closing!r} for the {opening!r} before", start)
            at = space(self.text, at + 1)

    def _key(self, at: int, start: int, keys: set, path: tuple) -> tuple[int, str]:
        if self.text[at : at + 1] != '"':
            self._broken(at, "a key in double quotes", start)
        place = at
        at, key = self._string(at)
        if key in keys:
            self._remember("duplicate key", place, key, "each key once in an object")
        keys.add(key)
        self.places.setdefault((*path, key), place)
        at = space(self.text, at)
        if self.text[at : at + 1] != ":":
            self._broken(at, "a colon after the key", start)
        return space(self.text, at + 1), key

    def _string(self, start: int) -> tuple[int, str]:
        at = start + 1
        while True:
            plain = _PLAIN.match(self.text, at)
            at = plain.end() if plain else at
            if self.text[at : at + 1] == '"':
                return at + 1, json.loads(self.text[start : at + 1], strict=True)
            pair = _HIGH_THEN_LOW.match(self.text, at)
            escape = pair or _ESCAPE.match(self.text, at)
            if escape is None:
                if _CUT_ESCAPE.fullmatch(self.text, at):
                    at = len(self.text)
                if at < len(self.text) and self.text[at] < " ":
                    need = "an escaped control character (\\n, \\t, \\u00..) inside a string"
                else:
                    need = "the closing quote of the string, or a known escape"
                self._broken(at, need, start)
            if pair is None and _SURROGATE.match(self.text, at):
                need = "a pair of surrogates, or the character itself"
                self._remember("lone surrogate", at, escape.group(), need)
            at = escape.end()

    def _number(self, at: int) -> int:
        found = _NUMBER.match(self.text, at)
        if found is None:
            self._broken(at, "a JSON value", self.open[-1] if self.open else at)
        digits, whole = found.group(), found.group(1) is None and found.group(2) is None
        if whole and len(digits) > MAX_DIGITS:
            got, need = f"{len(digits)} digits", f"an integer of at most {MAX_DIGITS} digits"
            self._remember("number too large", at, got, need)
        return found.end()

    def _remember(self, reason: str, at: int, got: str, need: str) -> None:
        if self.first is None:
            self.first = Refused(reason, at, got=got, need=need)

    def _broken(self, at: int, need: str, start: int) -> NoReturn:
        fault = Refused("not JSON", at, got=_near(self.text, at), need=need)
        fault.began = start if at >= len(self.text) else None
        raise fault
