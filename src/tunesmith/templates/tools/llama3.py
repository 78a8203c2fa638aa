"""llama3: today's date, tools as indented JSON, calls as JSON with `parameters` (Llama 3.1 on).

Deviations from LLaMA-Factory: JSON that is no call, and a call whose arguments are no object,
are text; `<|python_tag|>` before a call is read off. In Jinja the date is that of
`strftime_now`, which the engine has to have; without it, that of the family's own template.
Words that end in the tag, or before one call in `[` (a list that was cut off), are refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.templates import go_source as go
from tunesmith.templates import jinja_source as jinja
from tunesmith.templates.calls import closing_calls, dumps, wrapped
from tunesmith.templates.spans import control, joined, words
from tunesmith.templates.tools import qwen
from tunesmith.types import Call, Span

_TAG = "<|python_tag|>"
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"  # whatever the locale
_DATE = "Cutting Knowledge Date: December 2023\nToday Date: "
_BEFORE = (
    "\n\nYou have access to the following functions. To call a function, please respond with JSON "
    'for a function call. Respond in the format {"name": function name, "parameters": dictionary '
    "of argument name and its value}. Do not use variables.\n\n"
)
BETWEEN = ""
MARKS = (_TAG,)
_NOW = "(strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024')"
_TOOL = jinja.put(f"({jinja.json(jinja.WRAPPED, 4)})", jinja.literal("\n\n"))
JINJA_DESCRIBE = jinja.when(
    "tools",
    jinja.put(jinja.literal(_DATE), _NOW, jinja.literal(_BEFORE)),
    jinja.each("tool", "tools", _TOOL),
)
_MANY = "message['tool_calls'] | length != 1"
JINJA_WRITE = (
    jinja.when(_MANY, jinja.put("'['"))
    + jinja.each_call(
        jinja.when("not loop.first", jinja.put(jinja.literal(", "))),
        jinja.put(qwen.jinja_call("parameters")),
    )
    + jinja.when(_MANY, jinja.put("']'"))
)
_GO_MONTH = "".join(
    go.when(f'eq $month "{n + 1:02}"', _MONTHS[3 * n : 3 * n + 3]) for n in range(12)
)
_GO_DATE = (
    "{{ $month := slice currentDate 5 7 }}{{ slice currentDate 8 10 }} "
    + _GO_MONTH
    + " {{ slice currentDate 0 4 }}"
)
_GO_TOOLS = go.each("$.Tools", go.tool(wrapped=True, indent=4), "\n\n")
GO_DESCRIBE = go.text(_DATE) + _GO_DATE + go.text(_BEFORE) + _GO_TOOLS
_GO_MANY = "gt (len .ToolCalls) 1"
GO_WRITE = (
    go.when(_GO_MANY, '{{ "[" }}')  # no plain text: Ollama would take it for the mark of calls
    + go.calls("", go.call("parameters"), ", ")
    + go.when(_GO_MANY, "]")
)


DATED = True  # what it writes depends on the day


def describe(tools: Sequence[Mapping[str, Any]], *, today: datetime.date) -> list[Span]:
    """Today's date and the tools in OpenAI's wrapping, as indented JSON."""
    if not tools:
        return []
    month = _MONTHS[3 * today.month - 3 : 3 * today.month]
    date = f"{today.day:02} {month} {today.year:04}"
    pieces = [control(_DATE + date + _BEFORE)]
    for tool in tools:
        pieces += [words(dumps(wrapped(tool), indent=4)), control("\n\n")]
    return joined(pieces)


def write(calls: Sequence[Call]) -> list[Span]:
    """JSON of the one call, or of the list of calls."""
    texts = [qwen.json_call(call, "parameters") for call in calls]
    return [words(texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")]


def read(text: str) -> tuple[str, tuple[Call, ...]]:
    """Calls that end an answer."""
    before, calls = closing_calls(text, "parameters")
    return (before.removesuffix(_TAG) if calls else before), calls
