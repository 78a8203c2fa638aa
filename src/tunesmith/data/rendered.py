"""One conversation as a template and a tokenizer make it: for looking at, and for conformance.

`tunesmith template render` prints what is made here. Text, ids and labels come from the
functions that training and serving use; nothing is laid out anew.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tunesmith.data import thinking
from tunesmith.data.tokenize import Encoder, apart
from tunesmith.errors import DataError, Error
from tunesmith.templates import Asked, Renderer, Template, choose, stop_ids
from tunesmith.templates.calls import read_calls
from tunesmith.types import Conversation, Message, Span, Tokenizer

IGNORED = -100
"""Label of a token that is not learned."""
_KEYS = ("messages", "system", "tools", "options")
_OPTIONS = (
    *Asked._fields,
    "discarding_history_cot",
    "mask_history",
    "split_special_tokens",
    "today",
    "train_on_prompt",
    "translate_thinking",
)
_TEXTS = ("default_system", "today", "tool_format")
_MESSAGE_KEYS = ("role", "content", "tool_calls", "tool_call_id")
"""`tool_call_id`, like the `id` of a call, orders results where a template is no help."""
_ROLES = {"tool": "observation"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Rendered(NamedTuple):
    """What became of one case."""

    pairs: list[dict[str, str]] | None = None
    """Prompt and response of each answer, as text; the response with what ends its turn."""
    input_ids: list[int] | None = None
    labels: list[int] | None = None
    """The id where it is learned, `IGNORED` elsewhere."""
    stop_ids: list[int] | None = None
    error: str | None = None
    examples: list[dict[str, list[int]]] | None = None
    """Where training makes several examples of the conversation: all of them, in order."""

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON; `examples` only where there are several."""
        found = self._asdict()
        return found if self.examples else {k: v for k, v in found.items() if k != "examples"}


def render_cases(
    cases: Sequence[Mapping[str, Any]],
    name: str | None,
    tokenizer: Tokenizer,
    *,
    today: datetime.date | None = None,
) -> list[Rendered]:
    """Render each case with a template.

    Args:
        cases: `messages` (role, content; of an answer also OpenAI's `tool_calls`), `system`,
            `tools` (JSON text) and `options`: `default_system`, `enable_thinking`,
            `preserve_thinking`, `tool_format`, `mask_history`, `train_on_prompt`,
            `split_special_tokens`, `today` (a date as YYYY-MM-DD, of templates by name or in a
            `.yaml` file), `translate_thinking` (thoughts between `<think>` and `</think>` stand in
            the template's own marks, as in a run), and `discarding_history_cot` (true: earlier
            answers in `pairs` as serving shows them; false: as they were given).
        name: of a shipped template, or a file, or `None` for the tokenizer's own.
        tokenizer: the tokenizer, with every stop word a token.
        today: the date of cases that name none, where a template prints it; `None`: the
            clock's. A Jinja template has its own clock.

    Raises:
        TemplateError: the template does not exist or does not fit the tokenizer.
    """
    choose(name, tokenizer)
    encoders = _Encoders(name, tokenizer, today)
    return [_render_case(case, encoders) for case in cases]


class _Encoders:
    """Encoders of one template by what cases ask of it."""

    def __init__(self, name: str | None, tokenizer: Tokenizer, today: datetime.date | None) -> None:
        self.name, self.tokenizer, self.today = name, tokenizer, today
        self._known: dict[tuple[Asked, bool, datetime.date | None], Encoder] = {}

    def of(self, options: Mapping[str, Any]) -> Encoder:
        """The encoder for the options of a case."""
        asked = Asked(**{k: v for k, v in options.items() if k in Asked._fields})
        split = options.get("split_special_tokens") is not False
        day = _day(options.get("today"))
        key = asked, split, day
        if key not in self._known:
            renderer = _on(choose(self.name, self.tokenizer, asked), day, self.today)
            self._known[key] = Encoder(renderer, self.tokenizer, split_special_tokens=split)
        return self._known[key]


def _render_case(case: Mapping[str, Any], encoders: _Encoders) -> Rendered:
    try:
        options = _options(case)
        encoder = encoders.of(options)
        conversation = conversation_of(case)
        if options.get("translate_thinking"):
            conversation = thinking.translated(conversation, encoder.renderer)
        flags = {k: bool(options.get(k)) for k in ("mask_history", "train_on_prompt")}
        served = bool(options.get("discarding_history_cot"))
        pairs = pairs_of(encoder.renderer, conversation, served_history=served)
        parts = apart(conversation, encoder.renderer, **flags)
        found = encoder.encode(parts, **flags)
        wrong = next((one.error for one in found if one.error is not None), None)
        if wrong is not None:
            raise wrong
    except Error as error:
        return Rendered(error=str(error))
    examples = [
        {
            "input_ids": one.ids.tolist(),
            "labels": np.where(one.trained, one.ids, IGNORED).tolist(),
        }
        for one in found
    ]
    return Rendered(
        pairs,
        examples[-1]["input_ids"],
        examples[-1]["labels"],
        list(stop_ids(encoder.renderer, encoders.tokenizer)),
        examples=examples if len(examples) > 1 else None,
    )


def conversation_of(case: Mapping[str, Any]) -> Conversation:
    """The conversation of a case.

    Raises:
        DataError: an unknown key, or a value of another type.
        TemplateError: calls that cannot be read.
    """
    unknown = next((key for key in case if key not in _KEYS), None)
    if unknown is not None:
        raise DataError(unknown, need=f"a key of a case: {', '.join(_KEYS)}")
    messages = case.get("messages")
    if not isinstance(messages, list):
        raise DataError("messages", got=messages, need="a list of messages")
    for key in ("system", "tools"):
        _text(case.get(key), key, or_null=True)
    said = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    return Conversation(said, case.get("system"), case.get("tools"))


def _message(message: Any, place: str) -> Message:
    if not isinstance(message, dict):
        raise DataError(place, got=message, need="an object with role and content, both text")
    unknown = [k for k, v in message.items() if k not in _MESSAGE_KEYS and v is not None]
    if unknown:
        need = f"only {', '.join(_MESSAGE_KEYS)}: anything else would be lost"
        raise DataError(f"{place}.{unknown[0]}", got=message[unknown[0]], need=need)
    _text(message.get("role"), f"{place}.role")
    role: Any = _ROLES.get(message["role"], message["role"])  # the template knows which there are
    if message.get("tool_calls"):
        return _calling(message, role, place)
    _text(message.get("content"), f"{place}.content")
    if role != "function":
        return Message(role, message["content"])
    words, calls = read_calls(message["content"], f"{place}.content")
    if not calls:
        raise DataError(f"{place}.content", got=message["content"], need="a call")
    return Message(role, words, calls=calls)


def _calling(message: Mapping[str, Any], role: str, place: str) -> Message:
    """An answer with its calls beside its words, as OpenAI has it; the words may be null."""
    where = f"{place}.tool_calls"
    if role != "assistant":
        raise DataError(where, got=f"calls of role {role}", need="calls of role assistant")
    _text(message.get("content"), f"{place}.content", or_null=True)
    if not isinstance(message["tool_calls"], list):
        raise DataError(where, got=message["tool_calls"], need="a list of calls")
    _, calls = read_calls(json.dumps(message["tool_calls"]), where)
    return Message("function", message.get("content") or "", calls=calls)


def _text(value: Any, place: str, *, or_null: bool = False) -> None:
    """Refuse what is no text; a lone surrogate, which JSON can spell, has no bytes and no ids."""
    if not isinstance(value, str | None if or_null else str):
        raise DataError(place, got=value, need="text or null" if or_null else "text")
    if value is not None and _SURROGATE.search(value):
        raise DataError(place, got=value, need="text without lone surrogates")


def _options(case: Mapping[str, Any]) -> Mapping[str, Any]:
    options = case.get("options") or {}
    if not isinstance(options, dict):
        raise DataError("options", got=options, need="an object")
    unknown = next((key for key in options if key not in _OPTIONS), None)
    if unknown is not None:
        raise DataError(f"options.{unknown}", need=f"one of {', '.join(_OPTIONS)}")
    for key, value in options.items():
        if key in _TEXTS:
            _text(value, f"options.{key}", or_null=True)
        elif not isinstance(value, bool | None):
            raise DataError(f"options.{key}", got=value, need="true, false or null")
    return options


def _day(text: str | None) -> datetime.date | None:
    try:
        return None if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        raise DataError("options.today", got=text, need="a date, YYYY-MM-DD") from None


def _on(renderer: Renderer, day: datetime.date | None, today: datetime.date | None) -> Renderer:
    """The template on the day of a case, else on `today`."""
    if isinstance(renderer, Template):
        return replace(renderer, today=day or today)
    if day is not None:
        need = "a template by name: a Jinja template has its own clock"
        raise DataError("options.today", got=str(day), need=need)
    return renderer


def pairs_of(
    renderer: Renderer, conversation: Conversation, *, served_history: bool
) -> list[dict[str, str]]:
    """Prompt and response of each answer, as text.

    Args:
        renderer: the template.
        conversation: ends with an answer.
        served_history: earlier answers as later prompts show them, not as they were given.

    Raises:
        TemplateError: the template cannot express it.
    """
    if isinstance(renderer, Template):
        pairs = renderer.pairs(conversation, served_history=served_history)
    else:
        parts = apart(conversation, renderer)
        pairs = [pair for part in parts for pair in _runs(renderer.render(part))]
    return [{"prompt": prompt, "response": response} for prompt, response in pairs]


def _runs(spans: Sequence[Span]) -> list[tuple[str, str]]:
    """What stands before each run of learned spans, and the run."""
    out: list[tuple[str, str]] = []
    before, answer = "", ""
    for span in (*spans, Span("")):
        if span.trained:
            answer += span.text
            continue
        if answer:
            out.append((before, answer))
            before, answer = "", ""
        before += span.text
    return out
