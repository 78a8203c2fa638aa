"""mistral: tools as one JSON list between marks, calls as one JSON list (Mistral up to v3, Small).

`[TOOL_CALLS]` before the list belongs to the template's turn; it is read off where it stands
in an answer. Deviations from LLaMA-Factory: it is read off; JSON that is no call, and a call
whose arguments are no object, are text. Words that end in the mark are refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.templates import go_source as go
from tunesmith.templates import jinja_source as jinja
from tunesmith.templates.calls import closing_calls, dumps, wrapped
from tunesmith.templates.spans import control, words
from tunesmith.templates.tools import qwen
from tunesmith.types import Call, Span

_CALLS = "[TOOL_CALLS]"
_BEFORE, _AFTER = "[AVAILABLE_TOOLS] ", "[/AVAILABLE_TOOLS]"
BETWEEN = ""
MARKS = (_CALLS, "[AVAILABLE_TOOLS]", _AFTER)
_COMMA = jinja.when("not loop.first", jinja.put(jinja.literal(", ")))
JINJA_DESCRIBE = jinja.when(
    "tools",
    jinja.put(jinja.literal(_BEFORE + "[")),
    jinja.each("tool", "tools", _COMMA, jinja.put(jinja.json(jinja.WRAPPED))),
    jinja.put(jinja.literal("]" + _AFTER)),
)
JINJA_WRITE = (
    jinja.put("'['") + jinja.each_call(_COMMA, jinja.put(qwen.jinja_call())) + jinja.put("']'")
)
_TOOLS = go.each("$number, $tool := $.Tools", go.when("$number", ", "), go.tool(wrapped=True))
GO_DESCRIBE = go.text(_BEFORE + "[") + _TOOLS + go.text("]" + _AFTER)
GO_WRITE = go.calls("[", go.call(), ", ", "]")


def describe(tools: Sequence[Mapping[str, Any]], *, today: datetime.date) -> list[Span]:
    """The JSON list of tools in OpenAI's wrapping, between marks."""
    if not tools:
        return []
    return [control(_BEFORE), words(dumps([wrapped(tool) for tool in tools])), control(_AFTER)]


def write(calls: Sequence[Call]) -> list[Span]:
    """A JSON list of the calls."""
    return [words("[" + ", ".join(qwen.json_call(call) for call in calls) + "]")]


def read(text: str) -> tuple[str, tuple[Call, ...]]:
    """Calls that end an answer."""
    before, calls = closing_calls(text)
    if calls and before.rstrip().endswith(_CALLS):
        before = before.rstrip().removesuffix(_CALLS)
    return before, calls
