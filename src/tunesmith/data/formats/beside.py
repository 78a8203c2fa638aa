"""What a message says beside its words: calls, results of calls, a thought, whether it is learned.

The keys are OpenAI's and those of the tools that follow it.
"""

from __future__ import annotations

from typing import Any

from tunesmith.data.entry import Tags
from tunesmith.data.formats.values import Tell, of_python, words
from tunesmith.data.ledger import RowError
from tunesmith.errors import TemplateError
from tunesmith.templates.calls import Number, dumps, read_calls
from tunesmith.types import Call, Message

_LEARNS = {
    "weight": "0 (context) or 1 (learned)",
    "loss_weight": "0 (context) or 1 (learned)",
    "train": "true or false",
    "loss": "true or false",
}
"""Keys of a message that say whether it is learned, with their values."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
KEYS = (*_LEARNS, *_THOUGHTS, "tool_calls", "function_call", "tool_call_id")
"""All keys that are read here."""


def is_context(turn: dict[str, Any], place: str, tags: Tags) -> bool:
    """Whether the message says of itself that it is not learned.

    Raises:
        RowError: a value between yes and no: loss is not weighted by message.
    """
    context = False
    for key, values in _LEARNS.items():
        value = turn.get(key)
        if value is None or key in tags:
            continue
        value = float(value.text) if isinstance(value, Number) else value
        weighs = key.endswith("weight") and not isinstance(value, bool)
        if not (value in (0, 1) if weighs else isinstance(value, bool)):
            raise RowError.of("wrong type", f"{place}.{key}", got=value, need=values)
        context = context or not value
    return context


def content(value: Any, place: str) -> tuple[str, str]:
    """Words and thought of a content: text, or OpenAI's list of parts.

    Raises:
        RowError: no text, or a part of another kind than text and thought.
    """
    if not isinstance(value, list):
        return words(value, place), ""
    said, thought = [], []
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "reasoning", "thinking"):
            need = 'parts of text: {"type": "text", "text": …}'
            raise RowError.of("a part that is not read", f"{place}[{i}]", got=part, need=need)
        key = next((key for key in ("text", "value", kind) if key in part), "text")
        (said if kind == "text" else thought).append(words(part.get(key), f"{place}[{i}].{key}"))
    return "".join(said), "".join(thought)


def thought(turn: dict[str, Any], place: str, said: str, inside: str) -> str:
    """What the answer thinks before its words; "" where it does not.

    Raises:
        RowError: no text, two thoughts, or a second one between marks in the words.
    """
    found = {f"{place}: part of the content": inside} if inside else {}
    for key in _THOUGHTS:
        if turn.get(key) is not None and words(turn[key], f"{place}.{key}").strip():
            found[f"{place}.{key}"] = turn[key]
    if len(found) > 1 and len(set(found.values())) > 1:
        where, got = list(found.items())[1]
        raise RowError.of("two thoughts", where, got=got, need="one thought in an answer")
    for where, one in found.items():
        if "<think>" in said or "</think>" in said:
            need = "the thought in one place: this key, or between marks in the words"
            raise RowError.of("two thoughts", where, got=said, need=need)
        return one
    return ""


def calls(turn: dict[str, Any], place: str, results: Results) -> tuple[Call, ...]:
    """The calls that stand beside an answer's words, in `tool_calls` or `function_call`.

    Raises:
        RowError: something that is no call.
    """
    key = next((key for key in ("tool_calls", "function_call") if turn.get(key)), None)
    if key is None:
        return ()
    value = turn[key]
    if isinstance(value, str):
        text = value
    elif isinstance(value, list | dict):
        value = [_bare(v) for v in (value if isinstance(value, list) else [value])]
        text = dumps(value)
    else:
        raise RowError.of("wrong type", f"{place}.{key}", got=value, need="a list of calls")
    beside, found = spoken_calls(text, f"{place}.{key}")
    if beside.strip():
        raise RowError.of("a call that cannot be read", f"{place}.{key}", got=text, need="calls")
    listed = turn[key] if isinstance(turn[key], list) else []
    results.expect([v.get("id") if isinstance(v, dict) else None for v in listed])
    return found


def spoken_calls(text: str, place: str) -> tuple[str, tuple[Call, ...]]:
    """The words and calls of a turn that is JSON of calls, perhaps after some words.

    Raises:
        RowError: no call in it, or one that cannot be read.
    """
    try:
        said, found = read_calls(text, place)
    except TemplateError as error:
        raise RowError.of(
            "a call that cannot be read", error.where, got=error.got, need=error.need,
            hint=error.hint or of_python(str(error.got).strip('"')),
        ) from None  # fmt: skip
    if not found:
        raise RowError.of("a call that cannot be read", place, got=text, need="a call")
    return said, found


class Results:
    """The results of the calls of one row, brought into the order of their calls.

    Templates show no ids, so the first result has to be that of the first call.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell, self.sorted = tell, False
        self.ids: list[Any] = []
        self.turn: list[tuple[Any, str]] = []

    def expect(self, ids: list[Any]) -> None:
        """An answer calls tools, with these ids; `None`: without one."""
        self.ids, self.turn = ids, []

    def add(self, turn: dict[str, Any], place: str) -> None:
        """One result is read.

        Raises:
            RowError: it answers a call that the answer before it does not make.
        """
        wanted = turn.get("tool_call_id")
        if wanted is not None and any(self.ids) and wanted not in self.ids:
            known = ", ".join(str(one) for one in self.ids)
            raise RowError.of(
                "a result without its call", f"{place}.tool_call_id", got=wanted,
                need=f"the id of a call before it: {known}",
            )  # fmt: skip
        self.turn.append((wanted, place))

    def join(self, message: Message, said: str) -> Message:
        """One more result in a turn that has some."""
        before = message.results or (message.content,)
        found = [*before, said]
        ids = [wanted for wanted, _ in self.turn]
        if len(ids) == len(found) and None not in ids and all(one in self.ids for one in ids):
            order = sorted(range(len(ids)), key=lambda i: self.ids.index(ids[i]))
            if order != list(range(len(ids))):
                if not self.sorted:
                    self.tell("result before that of an earlier call; results are sorted")
                self.sorted = True
                found = [found[i] for i in order]
                self.turn = [self.turn[i] for i in order]
        return message._replace(content="", results=tuple(found))


def _bare(call: Any) -> Any:
    """A call without what exports add that says nothing: null keys, "" for no arguments."""
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        call = {**call, "function": _bare(call["function"])}
    elif "arguments" in call and call["arguments"] in ("", None):
        call = {**call, "arguments": {}}
    return {key: value for key, value in call.items() if value is not None}
