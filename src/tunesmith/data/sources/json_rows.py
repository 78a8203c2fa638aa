"""Rows of a json or jsonl file, each with the line on which it begins.

A row that is refused (a duplicate key, NaN …) comes out as a `Skip`; an array in which the next
row cannot be found raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from tunesmith.data import strict_json
from tunesmith.data.ledger import Skip
from tunesmith.data.sources import elements
from tunesmith.data.sources.source import Row, Source, empty, picked
from tunesmith.data.sources.text import Window, lines, texts, utf8, within_bounds
from tunesmith.data.strict_json import Refused
from tunesmith.errors import DataError
from tunesmith.types import Origin

_LOOKED_AT = 1 << 26  # characters of a first object, until its end is no longer waited for


def looked_at(source: Source) -> Source:
    """The same file with the layout that its content has, and a note if its name says another.

    Raises:
        DataError: a file that cannot be read, another encoding, empty, or neither layout.
    """
    named, file = source.layout, source.file
    window = Window(texts(source))
    first = window.space()
    if not first:
        raise empty(file)
    line, column = window.place(window.at)
    if first == "[":
        note = f"{file}: named .jsonl, read as one JSON array" if named == "lines" else None
        return source._replace(layout="array", note=note)
    if named == "lines":
        return source
    if first != "{":
        got = repr(window.text[window.at : window.at + 20].split("\n")[0])
        raise DataError(f"{file}:{line}:{column}", got=got, need="an array of objects")
    _look_like_lines(window, file)
    note = f"{file}: named .json, read as JSON lines (one object a line)"
    return source._replace(layout="lines", note=note)


def array(source: Source, dataset: str) -> Iterator[Row | Skip]:
    """Rows of one JSON array.

    Raises:
        DataError: broken syntax, with the row in which it breaks.
    """
    window, file = Window(texts(source)), source.file
    sign = window.space()
    if sign != "[":
        raise DataError(file, got=repr(sign), need="the array that was here a moment ago")
    began, number = window.place(window.at), 0
    window.at += 1
    while number or window.space() != "]":
        number += 1
        origin = Origin(dataset, file, window.line(), number)
        try:
            value = window.value()
        except Refused as fault:
            skip = _skip(fault, origin, window.place(fault.at), window.text[window.at : fault.end])
            if fault.end is None:
                raise _broken(skip, _place(window, fault.began)) from None
            window.at = fault.end
            yield skip
        except strict_json.Unfinished:
            raise _endless(window, origin) from None
        else:
            yield _row(value, origin, window.text[window.began : window.at])
        if not window.comma():
            if window.text[window.at : window.at + 1] == "]":
                break
            raise _no_comma(window, origin, began)
    _ended(window, file)


def by_line(
    source: Source, dataset: str, only: Sequence[int] | None = None
) -> Iterator[Row | Skip]:
    """Rows of JSON lines; blank lines are none. With `only`, those of them (see `picked`)."""
    file, wanted = source.file, picked(only)
    for number, (line, text, start) in enumerate(_filled(source), 1):
        if not wanted(number):
            continue
        origin = Origin(dataset, file, line, number)
        try:
            value, end = _alone(text, start, "the end of the line after the object")
        except Refused as fault:
            yield _skip(fault, origin, (line, fault.at + 1), text[start:].rstrip())
        else:
            yield _row(value, origin, text[start:end])


def some(source: Source, dataset: str, only: Sequence[int]) -> Iterator[Row | Skip]:
    """Some rows of one JSON array; what stands between them is not judged.

    Args:
        source: the file.
        dataset: its name in the registry.
        only: numbers of rows, from 1, ascending.

    Raises:
        DataError: brackets or quotes that do not close.
    """
    try:
        for number, text, line, column in elements.some(utf8(source), only):
            origin = Origin(dataset, source.file, line, number)
            try:
                value, _ = _alone(text, 0, "a comma or ']' after the row")
            except Refused as fault:
                if fault.end is None:
                    raise elements.Unsound from None
                down, right = strict_json.line_and_column(text, fault.at)
                place = line + down - 1, right + (column - 1 if down == 1 else 0)
                yield _skip(fault, origin, place, text)
            else:
                yield _row(value, origin, text)
    except elements.Unsound:
        _broken_somewhere(source)


def count(source: Source) -> int:
    """Rows of a file, which are not judged.

    Raises:
        DataError: as `array` and `by_line`.
    """
    if source.layout == "lines":
        return sum(1 for _ in _filled(source))
    try:
        return elements.count(utf8(source))
    except elements.Unsound:
        _broken_somewhere(source)


def _broken_somewhere(source: Source) -> NoReturn:
    for _ in array(source, ""):
        pass
    raise AssertionError("an array that does not end has been read to its end")


def _filled(source: Source) -> Iterator[tuple[int, str, int]]:
    """(number, text, where it begins) of each line that is not blank."""
    for line, text in enumerate(lines(texts(source), source.file), 1):
        start = 0 if text.startswith("{") else strict_json.space(text, 0)
        if start < len(text):
            yield line, text, start


def _alone(text: str, start: int, need: str) -> tuple[Any, int]:
    """A value, and its end; nothing else may follow.

    Raises:
        Refused: as `strict_json.parse`; or something does.
    """
    value, end = strict_json.parse(text, start)
    if end != len(text) and (after := strict_json.space(text, end)) != len(text):
        raise Refused("not JSON", after, got=repr(text[after : after + 20]), need=need)
    return value, end


def _look_like_lines(window: Window, file: str) -> None:
    """A `.json` file that begins with an object holds JSON lines, or something else."""
    line = window.line()
    try:
        value = window.value(_LOOKED_AT)
    except Refused:
        return  # told with its line when the rows are read
    except strict_json.Unfinished:
        value, several = {}, "\n" in window.text[window.at :]
    else:
        several = window.line() != line
    inside = [key for key, item in value.items() if isinstance(item, list)]
    alone = window.space() == ""
    if several or (alone and len(inside) == 1):
        under = f"; the rows seem to stand under {inside[0]!r}" if inside else ""
        raise DataError(
            f"{file}:{line}",
            got=f"one object{under}",
            need="an array of objects, or one object a line",
        )


def _endless(window: Window, origin: Origin) -> DataError:
    line, column = window.place(window.at)
    return DataError(
        f"{origin.file}:{line}:{column}",
        got=f"row {origin.row}, whose end does not come: a quote or a bracket is not closed",
        need=within_bounds(),
    )


def _no_comma(window: Window, origin: Origin, began: tuple[int, int]) -> DataError:
    """The error of what stands between two rows, or of an end without `]`."""
    text, at = window.text, window.at
    got = repr(text[at : at + 20]) if at < len(text) else "the end of the file"
    fault = Refused("not JSON", at, got=got, need="a comma or ']' after the row")
    skip = _skip(fault, origin, window.place(at))
    return _broken(skip, began if at == len(text) else None)


def _broken(skip: Skip, cut: tuple[int, int] | None) -> DataError:
    """The error of an array that cannot be read on; `cut`: where what is cut off begins."""
    row = skip.origin
    need = f"{skip.need} (in row {row.row}, which begins on line {row.line})"
    if cut is not None:
        need += f"; what is cut off began on line {cut[0]}, column {cut[1]}"
    return DataError(skip.place, got=skip.got, need=need)


def _place(window: Window, at: int | None) -> tuple[int, int] | None:
    return None if at is None else window.place(at)


def _ended(window: Window, file: str) -> None:
    window.at += 1
    if window.space():
        line, column = window.place(window.at)
        raise DataError(
            f"{file}:{line}:{column}",
            got=repr(window.text[window.at : window.at + 20].split("\n")[0]),
            need="the end of the file after the array",
        )


def _row(value: Any, origin: Origin, text: str) -> Row | Skip:
    if isinstance(value, dict):
        return Row(value, origin, text)
    place, need = f"{origin.file}:{origin.line}", "an object with the columns of the dataset"
    return Skip("not an object", origin, place, value, need, text=text)


def _skip(fault: Refused, origin: Origin, place: tuple[int, int], text: str = "") -> Skip:
    where = f"{origin.file}:{place[0]}:{place[1]}"
    return Skip(fault.reason, origin, where, *fault.told(*place), text=text)
