"""How a model's own Jinja template shows tools and calls: a tool format, and what stands around.

A guess for each tool format whose description the Jinja writes letter for letter; whether one
holds is for `parse` to prove.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from tunesmith.errors import TemplateError
from tunesmith.templates import tools
from tunesmith.templates.calls import read_tools
from tunesmith.templates.jinja import OwnJinja
from tunesmith.types import Call, Conversation, Message

Around = tuple[str, ...]
"""What a template writes before, between and after the words of a conversation."""

_PLACE = {"type": "string", "description": "a city, é"}
_TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": "of a city",
                "parameters": {
                    "type": "object", "properties": {"city": _PLACE}, "required": ["city"]
                },
            },
        }
        for name in ("weather", "time")
    ],
    ensure_ascii=False,
)  # fmt: skip
_ONE = (Call("weather", '{"city": "Kraków", "days": 3, "odd": [1.5, null, {"a": "<b>"}]}'),)
_TWO = (*_ONE, Call("time", "{}"))
_MARKS = ("\ue0000\ue001", "\ue0001\ue001", "\ue0002\ue001")


def told(own: OwnJinja, conversation: Conversation, *, prompting: bool) -> str | None:
    """The Jinja's text; `None`: it refuses."""
    try:
        return own.text(conversation, prompting=prompting)
    except TemplateError:
        return None


def around(
    own: OwnJinja, conversation: Conversation, marks: list[str], *, prompting: bool
) -> Around | None:
    """What stands around marks in a conversation; `None`: not each stands once, in order.

    Raises:
        TemplateError: the template refuses the conversation.
    """
    text, pieces = own.text(conversation, prompting=prompting), []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        pieces.append(before)
    pieces.append(text)
    return None if any(m in p for m in marks for p in pieces) else tuple(pieces)


def guesses(own: OwnJinja, fields: Mapping[str, Any], opening: str) -> Iterator[dict[str, Any]]:
    """The format with each tool format that could be the Jinja's.

    Args:
        own: the Jinja.
        fields: what is known of it.
        opening: what opens the first question.
    """
    system, question, result = _MARKS
    try:
        described = around(own, _row(system, question), [system, question], prompting=True)
        chain = _chain(own, question, result)
        beside = around(own, _row(None, "Q", _calling(system)), [system], prompting=False)
    except TemplateError:
        return
    if described is None or chain is None or beside is None:
        return
    for name in tools.names():
        turn = _description(name, described[1], fields, opening)
        calling = _turns(name, chain, fields)
        if turn is None or calling is None:
            continue
        parted, found, _ = beside[1].partition(_written(name))
        lead = calling["function"]["lead"] if calling.get("function") else ""
        guess = {**fields, "tool_format": name, "tools": turn}
        guess["roles"] = {**fields["roles"], **calling}
        for trim, between in product((False, True), (None, parted.removeprefix(lead))):
            if found or between is None:
                yield {**guess, "trim_tools": trim, "between": between}


def shown(own: OwnJinja) -> bool:
    """Whether the Jinja says anything of the tools that are defined."""
    text = told(own, _row(None, "Q"), prompting=True)
    return text is None or _ONE[0].name in text


def probes(thought: str | None) -> list[tuple[Conversation, bool]]:
    """Conversations with tools, perhaps with a thought; whether to end them with a prompt."""
    ends = [
        (),
        (Message("assistant", "None."),),
        (_calling(""),),
        (_calling("I look."),),
        (_calling("", _TWO), Message("observation", "21 °C")),
        (_calling(""), Message("observation", '{"a": 1}'), Message("assistant", "Warm.")),
        (
            _calling(""), Message("observation", "1"), _calling(""), Message("observation", "2"),
            Message("assistant", "Both."), Message("user", "Thanks."),
        ),
    ]  # fmt: skip
    if thought:
        deep = _calling(thought), Message("observation", "21 °C")
        ends += [deep, (_calling(thought + "I look."), *deep[1:], Message("assistant", "Warm."))]
        ends.append((*deep, Message("assistant", thought + "Warm."), Message("user", "Thanks.")))
    found = []
    for end, system, known in product(ends, (None, "Be brief."), (_TOOLS, None)):
        row = Conversation((Message("user", "Weather?"), *end), system, known)
        found.append((row, row.messages[-1].role in ("user", "observation")))
    return found


def _row(system: str | None, *said: str | Message) -> Conversation:
    messages = [m if isinstance(m, Message) else Message("user", m) for m in said]
    return Conversation(tuple(messages), system, _TOOLS)


def _calling(words: str, calls: tuple[Call, ...] = _ONE) -> Message:
    return Message("function", words, calls=calls)


def _chain(own: OwnJinja, question: str, result: str) -> Around | None:
    row = _row(None, question, _calling(""), Message("observation", result))
    return around(own, row, [question, result], prompting=True)


def _description(
    name: str, text: str, fields: Mapping[str, Any], opening: str
) -> dict[str, str] | None:
    """What stands around the description, from all between system text and question."""
    known = read_tools(_TOOLS, "tools")
    spans = tools.get(name).describe(known, today=datetime.date.today())
    written = "".join(span.text for span in spans)
    before, found, behind = text.partition(written)
    close = fields["roles"]["system"]["stop"]
    close += opening if fields.get("system_style") != "inside_first_user" else ""
    if not found or not behind.endswith(close):
        return None
    return {"open": before, "stop": behind.removesuffix(close)}


def _written(name: str) -> str:
    return "".join(span.text for span in tools.get(name).write(_ONE))


def _turns(name: str, chain: Around, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The turns of a call and of a result, from all between question and result."""
    answer = fields["roles"]["assistant"]
    before, found, opened = chain[1].partition(_written(name))
    header = fields["roles"]["user"]["stop"] + answer["open"]
    if not found or not opened.startswith(answer["stop"]) or not before.startswith(header):
        return None
    lead = before.removeprefix(header)
    calling = {**answer, "lead": lead} if lead != answer["lead"] else None
    opened = opened.removeprefix(answer["stop"]).removeprefix(answer["after"])
    if chain[2].endswith(answer["open"]):
        result = {"open": opened, "stop": chain[2].removesuffix(answer["open"])}
    else:
        result = {"open": opened, "then": chain[2]}
    return {"observation": result, "function": calling}
