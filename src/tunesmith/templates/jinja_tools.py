"""Spans of a conversation with tools under a model's own Jinja template: found from prefixes.

The prompt of every answer must begin the text that ends with it, and, but for what a history
leaves out of prompts, the whole text; what is between the end of a prompt and the end of the turn
is the answer. A question's words are found by rendering the prompt once
more with a mark in their place. Words inside tool definitions and arguments cannot be told
from the template's own text, so there the strings of control tokens are refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TemplateError
from tunesmith.templates.calls import arguments_of, read_tools, wrapped
from tunesmith.templates.jinja_numbers import native
from tunesmith.templates.jinja_spans import Found, Part
from tunesmith.templates.order import ANSWERING
from tunesmith.types import Conversation, Message

if TYPE_CHECKING:
    from tunesmith.templates.jinja import OwnJinja

_MARK = "\ue000words\ue001"


def needs_tools(conversation: Conversation) -> bool:
    """Whether it has more than questions and plain answers."""
    return bool(conversation.tools) or any(
        message.role in ("function", "observation") for message in conversation.messages
    )


def as_openai(message: Message) -> dict[str, Any]:
    """A message as chat templates take it."""
    if message.role == "observation":
        return {"role": "tool", "content": message.content}
    if message.role != "function":
        return {"role": message.role, "content": message.content}
    calls = [
        {"type": "function", "function": {"name": c.name, "arguments": native(arguments_of(c))}}
        for c in message.calls
    ]
    return {"role": "assistant", "content": message.content, "tool_calls": calls}


def openai_tools(tools: str | None, where: str) -> list[dict[str, Any]] | None:
    """Tool definitions as chat templates take them; `None`: there are none."""
    known = read_tools(tools, where) if tools else []
    return [native(wrapped(tool)) for tool in known] or None


def lay_out(own: OwnJinja, text: str, conversation: Conversation) -> Found:
    """The parts of the whole text.

    Raises:
        TemplateError: a prompt that does not begin the text, words, tools or calls that the
            template does not show, the string of a control token where words cannot be told apart.
    """
    _refuse_control(own, conversation)
    messages = conversation.messages
    out: list[Part] = []
    same: list[bool] = []
    start = 0
    for number, message in enumerate(messages):
        if message.role in ANSWERING:
            continue
        upto = conversation._replace(messages=messages[: number + 1])
        prompt = own.text(upto, prompting=True)
        shown = own.finder.shown(text, prompt, number + 1)
        if number == 0:
            known = openai_tools(conversation.tools, own.where) or []
            _refuse_hidden(own, prompt, [tool["function"]["name"] for tool in known])
        out += _asked(own, upto, shown, start)
        start = len(shown)
        if number + 1 == len(messages):
            break
        given = own.served(conversation._replace(messages=messages[: number + 2]))
        if not given.startswith(prompt):
            own.finder.refuse_prefix(number + 1)
        end = len(prompt) + len(own.finder.through_stop(given[len(prompt) :]))
        same.append(text.startswith(given[:end]))
        _refuse_hidden(own, given[start:end], [call.name for call in messages[number + 1].calls])
        if same[-1]:
            out += _answered(given[start:end], messages[number + 1], len(same) - 1)
            start = end
    out.append(Part(text[start:]))
    return Found(out, same)


def _asked(own: OwnJinja, upto: Conversation, prompt: str, start: int) -> list[Part]:
    """From `start` to the end of a prompt, with system text and question told apart."""
    *before, question = upto.messages
    marked = [
        (question.content, upto._replace(messages=(*before, question._replace(content=_MARK))))
    ]
    if start == 0 and upto.system:
        marked = [(upto.system, upto._replace(system=_MARK)), *marked]
    out: list[Part] = []
    at = start
    for words, conversation in marked:
        begin, written = _place(own, prompt, own.text(conversation, prompting=True), words)
        assert begin >= at, "a question stands behind what was said before it"
        out += [Part(prompt[at:begin]), Part(written, control=False)]
        at = begin + len(written)
    return [*out, Part(prompt[at:])]


def _place(own: OwnJinja, prompt: str, marked: str, words: str) -> tuple[int, str]:
    """Where the words stand in a prompt, and how they are written there."""
    before, found, _ = marked.partition(_MARK)
    if found and prompt.startswith(before):
        for written in (words, words.strip(), json.dumps(words, ensure_ascii=False)[1:-1]):
            if prompt.startswith(written, len(before)):
                return len(before), written
    need = "a template that shows every text of the conversation"
    raise TemplateError(own.where, got=words, need=need)


def _answered(text: str, message: Message, answer: int) -> list[Part]:
    """An answer with the end of its turn; its words stay words."""
    words = message.content.strip()
    at = text.find(words) if words else -1
    if at < 0:
        return [Part(text, answer)]
    after = at + len(words)
    return [Part(text[:at], answer), Part(words, answer, control=False), Part(text[after:], answer)]


def _refuse_hidden(own: OwnJinja, text: str, names: list[str]) -> None:
    """Many templates pass tools and calls over without a word."""
    for name in names:
        if name not in text:
            need = "a template that shows tools and calls; this one leaves them out"
            raise TemplateError(
                own.where, got=f"the tool {name}", need=need, hint="name a template"
            )


def _refuse_control(own: OwnJinja, conversation: Conversation) -> None:
    said = [conversation.tools or ""]
    for message in conversation.messages:
        said += [text for call in message.calls for text in call]
        said += [message.content] if message.role in ANSWERING else []
    for text in said:
        found = next((token for token in own.specials if token in text), None)
        if found is not None:
            need = "answers and tools without the string of a control token, under this template"
            raise TemplateError(own.where, got=found, need=need, hint="name a template")
