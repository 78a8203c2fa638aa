"""What a template writes around a call: to tell calls from words early, and to ask for one."""

from __future__ import annotations

import re

from tunesmith.errors import TemplateError
from tunesmith.templates.render import Template
from tunesmith.types import Call, Conversation, Message

_NAME = "tool_name_0"
_MARK = re.compile(r"[\s\"']")
_ARGUMENTS = '{"q_0": 10203}'


def calls_begin(template: Template, tools: str) -> str:
    """The first word of a call as a template writes it; "" where that is the tool's own name.

    Text before it may be shown at once.

    Args:
        template: which has a syntax of calls.
        tools: definitions, JSON text.

    Raises:
        TemplateError: calls cannot be written.
    """
    said = _written(template, tools, Call(_NAME, "{}")).partition(_NAME)[0]
    return _MARK.split(said.lstrip(), maxsplit=1)[0]


def call_form(template: Template, tools: str, name: str) -> tuple[str, str]:
    """What stands before and behind the arguments of a call, up to the end of the answer.

    Args:
        template: which has a syntax of calls.
        tools: definitions, JSON text.
        name: of the tool.

    Raises:
        TemplateError: arguments do not stand there as JSON.
    """
    said = _written(template, tools, Call(name, _ARGUMENTS))
    if said.count(_ARGUMENTS) != 1:
        raise TemplateError(
            f"template: {template.name}", got="calls whose arguments are not written as JSON",
            need="a syntax that an answer can be held to", hint="tool_choice: auto",
        )  # fmt: skip
    before, _, behind = said.partition(_ARGUMENTS)
    for word in template.stop_words:
        behind = behind.partition(word)[0]
    return before, behind.rstrip("\n")


def _written(template: Template, tools: str, call: Call) -> str:
    """The answer that is this call, without a thought."""
    called = Message("function", "", None, (call,))
    spans = template.render(Conversation((Message("user", "a"), called), None, tools))
    said = "".join(span.text for span in spans if span.trained)
    marks = template.format.thinking
    return said if marks is None else said.split(marks.close.strip())[-1].lstrip("\n")
