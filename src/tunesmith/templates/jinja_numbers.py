"""Numbers that a chat template can compute with and that print as they were written.

`1.50`, `1e400` and an integer of 5,000 digits are numbers to a template's tests and operators,
and letter for letter what the data says in its text and in its JSON. Not here: reading JSON
without loss (`calls.py`).
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from tunesmith.templates.calls import Number

_DIGITS = 4000
"""Python refuses to convert integers of more than 4,300 at once."""
_SECRET = secrets.token_hex(8)
_PLACE = re.compile(f'"{_SECRET}([^"]*)"')


class _Written:
    """What the two kinds of number share: the text of the data."""

    written: str

    def __repr__(self) -> str:
        """As it was written."""
        return self.written

    __str__ = __repr__


class WrittenInt(_Written, int):
    """An integer that Python would write otherwise or not at all."""


class WrittenFloat(_Written, float):
    """A number that Python would write otherwise; infinite where it is too large for a float."""


def native(value: Any) -> Any:
    """A value of `calls.loads` as templates take it."""
    if isinstance(value, dict):
        return {key: native(item) for key, item in value.items()}
    if isinstance(value, list):
        return [native(item) for item in value]
    if not isinstance(value, Number):
        return value
    digits = value.text.lstrip("-")
    if digits.isdecimal():
        number = WrittenInt(_integer(digits) * (-1 if digits != value.text else 1))
    else:
        number = WrittenFloat(value.text)
    number.written = value.text
    return number


def dumps(value: Any, **options: Any) -> str:
    """JSON text as `json.dumps` gives it, numbers as they were written."""
    if not _has_written(value):
        return json.dumps(value, **options)
    return _PLACE.sub(r"\1", json.dumps(_marked(value), **options))


def _integer(digits: str) -> int:
    if len(digits) <= _DIGITS:
        return int(digits)
    half = len(digits) // 2
    return _integer(digits[:-half]) * 10**half + _integer(digits[-half:])


def _has_written(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_written, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_written, value))
    return isinstance(value, _Written)


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item) for item in value]
    return _SECRET + value.written if isinstance(value, _Written) else value
