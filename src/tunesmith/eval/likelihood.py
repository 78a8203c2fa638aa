"""How probable a model finds given continuations: what benchmarks of several answers ask for.

Continuations of one question begin with the same tokens, which are computed once where the model
allows it; nothing is padded, and the head is applied where a token is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tunesmith.compute.placed import placed
from tunesmith.compute.score import score
from tunesmith.compute.sharing import shares
from tunesmith.data.batches import lay_out
from tunesmith.types import Example, Origin

_WINDOW = 64
"""Batches' worth of questions that are looked at for what they have in common."""
_NOWHERE = Origin("benchmark", "", 0, 0)


class Likelihood(NamedTuple):
    """Of one continuation."""

    logprob: float
    """Sum over its tokens, in nats."""
    greedy: bool
    """Whether the model, taking its most probable token each time, would say it."""


def likelihoods(
    model: Any,
    asked: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Likelihood]:
    """How probable each continuation is behind its context.

    Args:
        model: a transformers causal language model.
        asked: ids of (context, continuation), each at least one.
        max_tokens: of a forward pass.
        progress: told (done, all) after each pass.

    Returns:
        One for each that was asked, in their order.
    """
    found: list[Likelihood | None] = [None] * len(asked)
    training = [module for module in model.modules() if module.training]
    device, share, done = next(model.parameters()).device, shares(model), 0
    model.eval()
    try:
        # questions with a long beginning in common next to each other
        order = sorted(range(len(asked)), key=lambda i: (*asked[i][0], *asked[i][1]))
        examples = [_example(*asked[i]) for i in order]
        for rows in _windows(examples, _WINDOW * max_tokens):
            for batch in lay_out(examples, rows, max_tokens=max_tokens, share=share):
                with torch.inference_mode():
                    said = score(model, placed(batch, device), want_correct=True)
                assert said.correct_P is not None, "it was asked for"
                sizes = list(batch.num_trained)
                logprobs = said.logprob_P.double().cpu().split(sizes)
                right = said.correct_P.cpu().split(sizes)
                for row, mine, hits in zip(batch.rows, logprobs, right, strict=True):
                    found[order[row]] = Likelihood(float(mine.sum()), bool(hits.all()))
                done += len(batch.rows)
                if progress:
                    progress(done, len(asked))
    finally:
        for module in training:
            module.training = True
    return [each for each in found if each is not None]


def _example(context: Sequence[int], continuation: Sequence[int]) -> Example:
    assert context, "the first token of all is never predicted"
    assert continuation, "there is something to say"
    ids = np.array([*context, *continuation], np.int32)
    return Example(ids, np.arange(len(ids)) >= len(context), _NOWHERE)


def _windows(examples: Sequence[Example], most: int) -> Iterator[list[int]]:
    """Numbers of neighbours, about so many tokens at a time."""
    window, held = [], 0
    for number, example in enumerate(examples):
        window.append(number)
        held += len(example.ids)
        if held >= most:
            yield window
            window, held = [], 0
    if window:
        yield window
