"""Values of a row that should be text: what is refused, in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from tunesmith.data.entry import nearest
from tunesmith.data.ledger import RowError
from tunesmith.errors import TemplateError
from tunesmith.templates.calls import dumps, loads, read_tools

_PRINTED = re.compile(r"\s*(?:array\(|[\[({][\s\[({]*(?:'|array\(|None\b|True\b|False\b))")
MISSING = "missing column"
"""The kind of fault of a row whose layout may be another than its entry says."""
Tell = Callable[[str], None]
"""Takes what a row makes worth knowing without being bad; the same words are counted."""


def untold(_: str) -> None:
    """Where nobody counts."""


def missing(
    row: dict[str, Any],
    column: str,
    *,
    place: str | None = None,
    section: str = "columns",
) -> NoReturn:
    """A column or key that is not there.

    Raises:
        RowError: always, with a name that looks like it.
    """
    found = ", ".join(row) or "nothing"
    hint = ""
    if like := nearest(column, row):
        hint = f'the row has {like!r}: name it under "{section}" in its entry'
    need, got = f"{column!r} in the row", f"only {found}"
    raise RowError.of(MISSING, place or column, got=got, need=need, hint=hint)


def words(value: Any, place: str) -> str:
    """Text. A number is none: how it should be spelled is not for us to guess.

    Raises:
        RowError: null, or another type.
    """
    if not isinstance(value, str):
        got = "null" if value is None else value
        reason = "null instead of text" if value is None else "wrong type"
        raise RowError.of(reason, place, got=got, need="text in quotes")
    return value


def answer(value: Any, place: str) -> str:
    """Text that can be learned.

    Raises:
        RowError: no text, or nothing but white space.
    """
    said = words(value, place)
    if not said.strip():
        raise RowError.of("empty answer", place, got=repr(said), need="an answer to learn")
    return said


def optional(row: dict[str, Any], column: str | None) -> str | None:
    """Text of a column that may be absent or null."""
    value = None if column is None else row.get(column)
    return None if value is None else words(value, str(column))


def items(row: dict[str, Any], column: str | None) -> list[Any]:
    """List of a column that may be absent, null or empty text: then it is empty.

    A table has no lists; there it stands as JSON text.
    """
    value = None if column is None else row.get(column)
    if isinstance(value, str):
        try:
            value = loads(value) if value.strip() else None
        except ValueError as error:
            need, hint = f"a list, or JSON text of one ({error})", of_python(value)
            raise RowError.of("wrong type", str(column), got=value, need=need, hint=hint) from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError.of("wrong type", str(column), got=value, need="a list")
    return value


def tools(row: dict[str, Any], column: str | None) -> str | None:
    """Tool definitions as JSON text, whether they stand there as text or as JSON."""
    value = None if column is None else row.get(column)
    if value is None or (isinstance(value, str) and value.strip() == "null"):
        return None
    said = dumps(value) if isinstance(value, list | dict) else words(value, str(column))
    try:
        read_tools(said, str(column))
    except TemplateError as error:
        hint = error.hint or of_python(said)
        reason = "tools that cannot be read"
        raise RowError.of(
            reason, error.where, got=error.got, need=error.need, hint=hint
        ) from None  # fmt: skip
    return said


def of_python(text: str) -> str:
    """What to do about lists and objects as Python prints them, which is no JSON; else ""."""
    if not _PRINTED.match(text):
        return ""
    return (
        "this is how Python prints a list or dict, not JSON: pandas writes JSON lines by "
        "df.to_json('rows.jsonl', orient='records', lines=True), or cells by json.dumps"
    )
