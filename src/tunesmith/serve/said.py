"""From an engine's deltas to OpenAI's objects, whole or in chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import tokenizers

from tunesmith.infer.request import Delta, Request, Token
from tunesmith.serve.reading import Part, Reading, Style
from tunesmith.types import Call


class Answer:
    """One answer of a response.

    Args:
        number: its place among the choices.
        request: what was asked, with all that ends it.
        style: how it is read.
        backend: makes text of ids.
    """

    def __init__(
        self, number: int, request: Request, style: Style, backend: tokenizers.Tokenizer
    ) -> None:
        self.number, self.request, self._backend = number, request, backend
        stop_ids = request.stop_ids or ()
        self._reading = Reading(style, backend, stop_ids=stop_ids, stop_texts=request.stops)
        self.tokens: list[Token] = []
        self.thought = self.words = ""
        self.finish: str | None = None

    def take(self, delta: Delta) -> list[Part]:
        """What can be shown after one more delta."""
        self.tokens += delta.tokens
        parts = self._reading.take(delta)
        for part in parts:
            if part.kind == "thought":
                self.thought += part.text
            else:
                self.words += part.text
        if delta.finish:
            ended = "stop" if delta.finish == "stop" else "length"
            self.finish = "tool_calls" if self._reading.calls else ended
        return parts

    def calls(self) -> list[dict[str, Any]]:
        """The tools that it calls."""
        return [_call(call) for call in self._reading.calls]

    def logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """Of a chat."""
        if self.request.logprobs is None:
            return None
        return {
            "content": [
                {
                    **self._told(token.id, token.logprob),
                    "top_logprobs": [self._told(*pair) for pair in token.top],
                }
                for token in tokens
            ],
            "refusal": None,
        }

    def old_logprobs(self, tokens: Sequence[Token], at: int = 0) -> dict[str, Any] | None:
        """Of a completion; `at` is where in the text the first token stands."""
        if self.request.logprobs is None:
            return None
        texts = [self._text(token.id) for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{self._text(i): p for i, p in token.top} for token in tokens],
            "text_offset": [at + len("".join(texts[:i])) for i in range(len(texts))],
        }

    def _told(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        text = self._text(token_id)
        whole = "\ufffd" not in text  # a piece of a character has no text of its own
        return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None}

    def _text(self, token_id: int) -> str:
        return self._backend.decode([token_id], skip_special_tokens=False)


def usage(answers: Sequence[Answer], prompts: int) -> dict[str, Any]:
    """Counts of tokens; each prompt counts once."""
    made = sum(len(answer.tokens) for answer in answers)
    return {"prompt_tokens": prompts, "completion_tokens": made, "total_tokens": prompts + made}


class Response:
    """What all chunks of a response have in common."""

    def __init__(self, kind: str, model: str) -> None:
        prefix = "chatcmpl" if kind == "chat.completion" else "cmpl"
        self.kind = kind
        self.head = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, answers: Sequence[Answer], prompts: int) -> dict[str, Any]:
        """The response to a request without `stream`."""
        say = _message if self.kind == "chat.completion" else _completion
        choices = [say(answer) for answer in answers]
        return {
            **self.head, "object": self.kind, "choices": choices,
            "usage": usage(answers, prompts),
        }  # fmt: skip

    def chunk(
        self, choices: list[dict[str, Any]], counts: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One event of a stream."""
        chat = self.kind == "chat.completion"
        head = {**self.head, "object": "chat.completion.chunk" if chat else self.kind}
        return {**head, "choices": choices, **({"usage": counts} if counts else {})}

    def begin(self, answer: Answer) -> dict[str, Any] | None:
        """The first event of an answer, where there is one."""
        if self.kind != "chat.completion":
            return None
        return self.chunk([_choice(answer, {"role": "assistant", "content": ""})])

    def step(self, answer: Answer, delta: Delta) -> list[dict[str, Any]]:
        """Events for one delta."""
        at = len(answer.words)
        parts = answer.take(delta)
        tokens = delta.tokens
        if self.kind != "chat.completion":
            text = "".join(part.text for part in parts)
            if not (text or delta.finish or (tokens and answer.request.logprobs is not None)):
                return []
            choice = _choice(answer, None)
            choice |= {"text": text, "logprobs": answer.old_logprobs(tokens, at)}
            return [self.chunk([choice])]
        said: list[dict[str, Any]] = [
            {"reasoning_content" if part.kind == "thought" else "content": part.text}
            for part in parts
        ]
        if delta.finish:
            for number, call in enumerate(answer.calls()):
                said.append({"tool_calls": [{"index": number, **call}]})
        if tokens and answer.request.logprobs is not None and not said:
            said.append({"content": ""})
        events = [_choice(answer, each, ended=False) for each in said]
        if events and tokens:
            events[0]["logprobs"] = answer.logprobs(tokens)
        if delta.finish:
            events.append(_choice(answer, {}))
        return [self.chunk([event]) for event in events]


def _choice(answer: Answer, delta: Any, *, ended: bool = True) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": answer.number, "logprobs": None}
    choice["finish_reason"] = answer.finish if ended else None
    return choice if delta is None else {**choice, "delta": delta}


def _message(answer: Answer) -> dict[str, Any]:
    calls = answer.calls()
    message: dict[str, Any] = {"role": "assistant", "content": answer.words or None}
    if not calls:
        message["content"] = answer.words
    if answer.thought:
        message["reasoning_content"] = answer.thought
    if calls:
        message["tool_calls"] = calls
    choice = _choice(answer, None)
    return {**choice, "message": message, "logprobs": answer.logprobs(answer.tokens)}


def _completion(answer: Answer) -> dict[str, Any]:
    choice = _choice(answer, None)
    return {**choice, "text": answer.words, "logprobs": answer.old_logprobs(answer.tokens)}


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
