"""One conversation as a template and a tokenizer make it: for looking at, and for conformance.

`tunesmith template render` prints what is made here. Text, ids and labels come from the
functions that training and serving use; nothing is laid out anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

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
    "train_on_prompt",
)
_TEXTS = ("default_system", "tool_format")
_ROLES = {"tool": "observation"}
_Encoders = dict[tuple[Asked, bool], Encoder]


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
    cases: Sequence[Mapping[str, Any]], name: str | None, tokenizer: Tokenizer
) -> list[Rendered]:
    """Render each case with a template.

    Args:
        cases: `messages` (role, content), `system`, `tools` (JSON text) and `options`:
            `default_system`, `enable_thinking`, `preserve_thinking`, `tool_format`,
            `mask_history`, `train_on_prompt`, `split_special_tokens`, and
            `discarding_history_cot` (true: earlier answers in `pairs` as serving shows them;
            false: as they were given).
        name: of a shipped template, or a file, or `None` for the tokenizer's own.
        tokenizer: the tokenizer, with every stop word a token.

    Raises:
        TemplateError: the template does not exist or does not fit the tokenizer.
    """
    choose(name, tokenizer)
    encoders: _Encoders = {}
    return [_render_case(case, name, tokenizer, encoders) for case in cases]


def _render_case(
    case: Mapping[str, Any], name: str | None, tokenizer: Tokenizer, encoders: _Encoders
) -> Rendered:
    try:
        options = _options(case)
        asked = Asked(**{k: v for k, v in options.items() if k in Asked._fields})
        split = options.get("split_special_tokens") is not False
        if (asked, split) not in encoders:
            renderer = choose(name, tokenizer, asked)
            encoders[asked, split] = Encoder(renderer, tokenizer, split_special_tokens=split)
        encoder = encoders[asked, split]
        conversation = conversation_of(case)
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
        list(stop_ids(encoder.renderer, tokenizer)),
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
        if not isinstance(case.get(key), str | None):
            raise DataError(key, got=case[key], need="text or null")
    said = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    return Conversation(said, case.get("system"), case.get("tools"))


def _message(message: Any, place: str) -> Message:
    if not isinstance(message, dict) or not all(
        isinstance(message.get(key), str) for key in ("role", "content")
    ):
        raise DataError(place, got=message, need="an object with role and content, both text")
    role: Any = _ROLES.get(message["role"], message["role"])  # the template knows which there are
    if role != "function":
        return Message(role, message["content"])
    words, calls = read_calls(message["content"], f"{place}.content")
    if not calls:
        raise DataError(f"{place}.content", got=message["content"], need="a call")
    return Message(role, words, calls=calls)


def _options(case: Mapping[str, Any]) -> Mapping[str, Any]:
    options = case.get("options") or {}
    if not isinstance(options, dict):
        raise DataError("options", got=options, need="an object")
    unknown = next((key for key in options if key not in _OPTIONS), None)
    if unknown is not None:
        raise DataError(f"options.{unknown}", need=f"one of {', '.join(_OPTIONS)}")
    for key, value in options.items():
        if not isinstance(value, (str if key in _TEXTS else bool) | None):
            need = "text or null" if key in _TEXTS else "true, false or null"
            raise DataError(f"options.{key}", got=value, need=need)
    return options


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
