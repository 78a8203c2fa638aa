"""One answer in the making: from logits to the next token, to text, to its end."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import tokenizers
import torch
from torch import Tensor

from tunesmith.infer.request import Delta, Finish, Request, Token
from tunesmith.infer.sampling import pick
from tunesmith.infer.stream import TextStream


class Row:
    """What has come of a request.

    Args:
        asked: the request.
        backend: makes text of ids.
        room: how many tokens the answer may have.
        stop_ids: end an answer.
        stop_texts: end it too, beside the request's own.
    """

    def __init__(
        self,
        asked: Request,
        backend: tokenizers.Tokenizer,
        *,
        room: int,
        stop_ids: Collection[int],
        stop_texts: Sequence[str] = (),
    ) -> None:
        self.asked, self.room = asked, room
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self._stop_ids = stop_ids
        self._stream = TextStream(backend, (*stop_texts, *asked.stops))
        self._constraint = asked.grammar.begin() if asked.grammar else None
        self._generator = None
        if asked.sampling.do_sample:
            self._generator = torch.Generator().manual_seed(asked.sampling.seed % 2**63)

    @property
    def text(self) -> str:
        """Everything given out so far."""
        return self._stream.text

    def take(self, logits_V: Tensor) -> Delta:
        """Choose the next token from its logits; it may be the last."""
        raw_V = logits_V
        if self._constraint:
            logits_V = self._constraint.mask(logits_V)
        seen = [*self.asked.prompt_ids, *self.ids]
        chosen = pick(logits_V, seen, self.asked.sampling, self._generator, made=self.ids)
        return self.add(_told(chosen, raw_V, self.asked.logprobs))

    def add(self, token: Token) -> Delta:
        """Take a token that has been chosen; it may be the last."""
        chosen = token.id
        self.ids.append(chosen)
        if self._constraint and chosen not in self._stop_ids:
            self._constraint.take(chosen)
        if chosen in self._stop_ids:
            return self._end("stop", "", token)
        piece = self._stream.push(chosen)
        if piece.stopped:
            self.finish = "stop"
            return Delta(piece.text, (token,), "stop")
        if len(self.ids) >= self.room:
            return self._end("length", piece.text, token)
        return Delta(piece.text, (token,))

    def end(self, finish: Finish) -> Delta:
        """It ends as it is."""
        return self._end(finish, "")

    def _end(self, finish: Finish, text: str, *tokens: Token) -> Delta:
        """With what was held back: a character that never became whole, or what might have become
        a stop word.
        """
        rest = self._stream.finish()
        self.finish = "stop" if rest.stopped else finish
        return Delta(text + rest.text, tokens, self.finish)


def _told(chosen: int, logits_V: Tensor, alternatives: int | None) -> Token:
    if alternatives is None:
        return Token(chosen)
    logprobs_V = logits_V.float().log_softmax(0)
    best, ids = logprobs_V.topk(min(alternatives, len(logprobs_V)))
    top = tuple(zip(ids.tolist(), best.tolist(), strict=True))
    return Token(chosen, float(logprobs_V[chosen]), top)
