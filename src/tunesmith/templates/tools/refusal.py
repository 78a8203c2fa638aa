"""refusal: of a template that has no words for tools; its tools and calls are errors."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tunesmith.errors import TemplateError
from tunesmith.templates import jinja_source as jinja
from tunesmith.types import Call, Span

BETWEEN = ""
MARKS: tuple[str, ...] = ()
NEED = "no tools: this template has no words for them"
HINT = "a template that has some"
JINJA_DESCRIBE = JINJA_WRITE = jinja.put(
    f"raise_exception({jinja.literal('This template cannot express tools.')})"
)
GO_DESCRIBE = GO_WRITE = None


def describe(tools: Sequence[Mapping[str, Any]], *, today: datetime.date) -> list[Span]:
    """Nothing for no tools.

    Raises:
        TemplateError: there are some.
    """
    return _refuse("definitions of tools") if tools else []


def write(calls: Sequence[Call]) -> list[Span]:
    """Nothing for no calls.

    Raises:
        TemplateError: there are some.
    """
    return _refuse(f"a call of {calls[0].name}") if calls else []


def read(text: str) -> tuple[str, tuple[Call, ...]]:
    """No answer holds a call."""
    return text, ()


def _refuse(got: str) -> NoReturn:
    raise TemplateError("template: tools", got=got, need=NEED, hint=HINT)
