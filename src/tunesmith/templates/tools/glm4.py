"""glm4: tools as indented JSON under headings, a call as its name and a line of JSON (GLM-4).

Deviations from LLaMA-Factory: parallel calls (an error there) are separate turns of the
assistant, as in the family's own template; no calls are no text. A call is read where a name
stands alone on a line, or behind a mark, and JSON of an object follows; anything else is text.
Words before a call have to end in a line break or a mark: `BETWEEN` where they do not. Words
that end in it themselves are refused.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.templates import go_source as go
from tunesmith.templates import jinja_source as jinja
from tunesmith.templates.calls import NAME, bare_name, decode, dumps, function_of, space
from tunesmith.templates.spans import control, joined, words
from tunesmith.types import Call, Span

BETWEEN = "<|assistant|>"
_BEFORE = (
    "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
    "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具"
)
_AFTER = "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
MARKS = (BETWEEN,)
_HEAD = re.compile(rf"(?:\A|(?<=[\n>]))[ \t]*({NAME.pattern})[ \t]*\n\s*(?=\{{)")
_NEXT = re.compile(rf"\s*({NAME.pattern})[ \t]*\n\s*(?=\{{)")
_NAME = "call['name']"
JINJA_DESCRIBE = jinja.when(
    "tools",
    jinja.put(jinja.literal(_BEFORE)),
    jinja.each(
        "tool",
        "tools",
        jinja.put(jinja.literal("\n\n## "), f"{jinja.DEFINITION}['name']", jinja.literal("\n\n")),
        jinja.put(jinja.json(jinja.DEFINITION, 4), jinja.literal(_AFTER)),
    ),
)
JINJA_WRITE = jinja.each_call(
    jinja.when("not loop.first", jinja.put(jinja.literal(BETWEEN))),
    jinja.put(_NAME, jinja.literal("\n"), jinja.ARGUMENTS),
)
_GO_NAME = "{{ .Function.Name }}"
_GO_TOOL = go.tool(wrapped=False, indent=4)
GO_DESCRIBE = go.text(_BEFORE) + go.each(
    "$.Tools", "\n\n## ", _GO_NAME, "\n\n", _GO_TOOL, go.text(_AFTER)
)
GO_WRITE = go.calls("", "{{ $call.Function.Name }}\n" + go.ARGUMENTS, BETWEEN)


def describe(tools: Sequence[Mapping[str, Any]], *, today: datetime.date) -> list[Span]:
    """The assistant's name, then a heading and indented JSON for each tool."""
    if not tools:
        return []
    pieces = [control(_BEFORE)]
    for tool in tools:
        function = function_of(tool)
        pieces += [control("\n\n## "), words(function["name"]), control("\n\n")]
        pieces += [words(dumps(function, indent=4)), control(_AFTER)]
    return joined(pieces)


def write(calls: Sequence[Call]) -> list[Span]:
    """A call: its name, then its arguments on a line.

    Raises:
        TemplateError: a name that would not be read back.
    """
    pieces = []
    for number, call in enumerate(calls):
        pieces.append(control(BETWEEN * bool(number)))
        pieces += [words(bare_name(call, "glm4")), control("\n"), words(call.arguments)]
    return joined(pieces)


def read(text: str) -> tuple[str, tuple[Call, ...]]:
    """Calls that end an answer."""
    at = 0
    while head := _HEAD.search(text, at):
        calls, end = _calls(text, head)
        if space(text, end) == len(text):
            before = text[: head.start()]
            return before.removesuffix(BETWEEN), tuple(calls)
        at = max(end, head.end())
    return text, ()


def _calls(text: str, head: re.Match[str] | None) -> tuple[list[Call], int]:
    """Calls from a head on, and the offset after the last."""
    calls, end = [], -1
    while head is not None:
        try:
            value, end = decode(text, head.end())
        except ValueError:
            return [], -1
        calls.append(Call(head[1], dumps(value)))
        following = space(text, end)
        if not text.startswith(BETWEEN, following):
            break
        head = _NEXT.match(text, following + len(BETWEEN))
        end = end if head is None else head.end()
    return calls, end
