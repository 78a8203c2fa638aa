"""The default engine: answers one conversation with any causal model of transformers.

The loop is ours (a key-value cache, one token at a time), so that the ids that go in are
the caller's, ids and text come out as they arise, and one seed gives one answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal, NamedTuple

import torch

from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.forward import Plain
from tunesmith.infer.sampling import Sampling, pick
from tunesmith.infer.stream import TextStream, left_out
from tunesmith.types import Conversation, Seen, Tokenizer


class Answer(NamedTuple):
    """What a model said, and how it came to its end."""

    text: str
    """Without the stop word, and without special tokens but for the marks of the template."""
    ids: list[int]
    """As produced, with the stop token where there was one."""
    prompt_ids: list[int]
    finish_reason: Literal["stop", "length"]
    """`stop`: it ended by itself; `length`: max_new_tokens or the context was reached."""
    tokens_per_second: float
    """Produced tokens over the whole time, prompt included."""


class Engine:
    """A loaded model that answers.

    Args:
        model: a causal language model of transformers on one device.
        tokenizer: the checked tokenizer.
        encode: conversation to prompt ids; the caller passes the very function that
            training uses, so that what was trained is what is served.
        stop_words: of the template, beside the tokenizer's own eos and stops. One that is
            a single token ends the answer as an id, any other as text.
        see: reads the media of a conversation whose prompt has these ids.
        marks: what the template writes into answers; its special tokens are part of their text.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        encode: Callable[[Conversation], Sequence[int]],
        stop_words: Sequence[str] = (),
        see: Callable[[Conversation, Sequence[int]], Seen | None] | None = None,
        marks: Sequence[str] = (),
    ) -> None:
        self.model, self.tokenizer, self._encode, self._see = model, tokenizer, encode, see
        self.stop_ids, self.stop_texts = split_stops(tokenizer, stop_words)
        self.skipped = left_out(tokenizer.backend, marks)

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer the conversation's last turn.

        Args:
            conversation: its last message is the user's (or a tool's result).
            sampling: resolved settings.
            on_text: called with each piece of text as it comes; never half a character.

        Raises:
            ModelError: the prompt leaves no room in the model's context.
        """
        ids = self.encode(conversation)
        seen = self._see(conversation, ids) if self._see and conversation.media else None
        return self.complete(ids, sampling, on_text, seen=seen)

    def stream(self) -> TextStream:
        """What makes the text of an answer, token by token."""
        return TextStream(self.tokenizer.backend, self.stop_texts, skipped=self.skipped)

    def marking(self, marks: Sequence[str]) -> Engine:
        """The same engine, whose text has the special tokens of other marks."""
        other = copy(self)
        other.skipped = left_out(self.tokenizer.backend, marks)
        return other

    def text(self, ids: Sequence[int]) -> str:
        """The text of an answer that came as these ids, as if they had been streamed."""
        stream = self.stream()
        for token_id in ids:
            if token_id in self.stop_ids or stream.push(token_id).stopped:
                break
        stream.finish()
        return stream.text

    def encode(self, conversation: Conversation) -> list[int]:
        """The ids that the model gets to see for a conversation."""
        return list(self._encode(conversation))

    def complete(
        self,
        prompt_ids: list[int],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
        *,
        seen: Seen | None = None,
    ) -> Answer:
        """Continue ids that are a whole prompt already; see `generate`."""
        room = self.room(len(prompt_ids), sampling.max_new_tokens)
        stream = self.stream()
        ids: list[int] = []
        reason: Literal["stop", "length"] = "length"
        begun = time.perf_counter()
        with answering(self.model):
            for token_id in self._tokens(prompt_ids, sampling, room, seen):
                ids.append(token_id)
                if token_id in self.stop_ids:
                    reason = "stop"
                    break
                piece = stream.push(token_id)
                _tell(on_text, piece.text)
                if piece.stopped:
                    reason = "stop"
                    break
        # a character that never became whole, or what might have become a stop word
        rest = stream.finish()
        _tell(on_text, rest.text)
        if rest.stopped:
            reason = "stop"
        seconds = max(time.perf_counter() - begun, 1e-9)
        return Answer(stream.text, ids, prompt_ids, reason, len(ids) / seconds)

    def room(self, prompt: int, wanted: int) -> int:
        """How many tokens an answer to a prompt of so many may have: `wanted` at most.

        Raises:
            ModelError: the prompt is empty, or fills the model's context.
        """
        config = self.model.config.get_text_config()
        context = getattr(config, "max_position_embeddings", None)
        if prompt == 0:
            raise ModelError("prompt", got="0 tokens", need="at least one token")
        if context is None:
            return wanted
        if prompt >= context:
            raise ModelError(
                "prompt",
                got=f"{prompt} tokens",
                need=f"fewer than the model's context of {context} tokens",
                hint="start a new conversation (clear), or shorten the message",
            )
        return min(wanted, context - prompt)

    def _tokens(
        self, prompt_ids: list[int], sampling: Sampling, room: int, seen_media: Seen | None
    ) -> Iterator[int]:
        """One token after another, without end marks; at most `room`."""
        generator = None
        if sampling.do_sample:
            generator = torch.Generator().manual_seed(sampling.seed % 2**63)
        seen, fresh = list(prompt_ids), list(prompt_ids)
        forward = Plain(self.model)
        state = forward.begin(seen_media)
        for _ in range(room):
            (logits,) = forward.extend([(state, fresh)])
            made = seen[len(prompt_ids) :]
            token_id = pick(logits, seen, sampling, generator, made=made)
            seen.append(token_id)
            fresh = [token_id]
            yield token_id


def split_stops(
    tokenizer: Tokenizer, stop_words: Sequence[str]
) -> tuple[frozenset[int], tuple[str, ...]]:
    """Stop words as ids where they are one token of the vocabulary, the rest as text.

    Raises:
        ConfigError: nothing at all would end an answer.
    """
    ids, texts = set(), []
    for word in (tokenizer.eos, *tokenizer.stops, *stop_words):
        token_id = tokenizer.id_of(word)
        if token_id is not None:
            ids.add(token_id)
        elif word:
            texts.append(word)
    if not ids and not texts:
        raise ConfigError(
            str(tokenizer.path),
            got="no eos token and a template without stop words",
            need="something that ends an answer",
            hint="name a template whose turns end in a stop word",
        )
    return frozenset(ids), tuple(dict.fromkeys(texts))


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Evaluation mode for the time of an answer; then every module as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _tell(on_text: Callable[[str], None] | None, text: str) -> None:
    if on_text is not None and text:
        on_text(text)
