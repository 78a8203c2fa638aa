"""Held-out loss: what a model makes of examples that it was not trained on.

Every trained token counts once, so the figures do not depend on how examples share batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunesmith.compute.placed import placed
from tunesmith.compute.score import score
from tunesmith.data.batches import lay_out
from tunesmith.errors import DataError
from tunesmith.types import Batch, Example, Score

_WINDOW_BATCHES = 16  # batches that are laid out at once: memory stays flat in the examples


def evaluate(
    model: Any,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    share: bool = False,
    want_accuracy: bool = False,
    progress: Callable[[int, int], None] | None = None,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
    each_dataset: bool = False,
    see: Callable[[Batch], Batch] = lambda batch: batch,
) -> dict[str, float]:
    """Loss, perplexity and accuracy over the trained tokens of all examples.

    The model is in evaluation mode meanwhile, and each of its modules as before afterwards.

    Args:
        model: a causal language model of transformers.
        examples: all held-out examples; at least one trained token among them.
        max_tokens: the most tokens of a forward pass; only time and memory depend on it.
        share: whether what examples begin with in common is computed once.
        want_accuracy: also the share of trained tokens that are the most probable ones.
        progress: told (examples done, all examples) after each forward pass.
        within: makes the context of a forward pass (autocast), the same as in training.
        each_dataset: also the figures of each data set, measured in the same passes.
        see: reads the media of a batch.

    Returns:
        With the usual keys: `eval_loss` (nats per trained token), `eval_perplexity` (its
        exponential; infinite if too large for a float), `eval_accuracy` where asked,
        `eval_tokens` (the trained ones), `eval_runtime` (seconds), `eval_samples_per_second`,
        `eval_steps_per_second` (forward passes); `eval_NAME_loss` and the like of each data
        set that is asked for.

    Raises:
        DataError: no example has a trained token.
    """
    training = [module for module in model.modules() if module.training]
    device = next(model.parameters()).device
    total, correct, tokens, passes, done = 0.0, 0, 0, 0, 0
    parts: dict[str, _Sums] = {}
    begun = time.perf_counter()
    model.eval()
    try:
        for batch in _batches(examples, max_tokens, share):
            with torch.inference_mode(), within():
                found = score(model, placed(see(batch), device), want_correct=want_accuracy)
            total -= float(found.logprob_P.double().sum())
            tokens += len(batch.labels_P)
            correct += int(found.correct_P.sum()) if found.correct_P is not None else 0
            if each_dataset:
                _add(parts, batch, found, examples)
            passes, done = passes + 1, done + len(batch.rows)
            if progress:
                progress(done, len(examples))
    finally:
        for module in training:
            module.training = True
    if tokens == 0:
        raise DataError(
            "held-out examples",
            got=f"{len(examples)} examples, no trained token among them",
            need="at least one token with loss to measure",
            hint="a larger val_size, or an eval_dataset with answers",
        )
    seconds = max(time.perf_counter() - begun, 1e-9)
    loss = total / tokens
    results = {
        "eval_loss": loss,
        "eval_perplexity": _perplexity(loss),
        "eval_runtime": round(seconds, 4),
        "eval_samples_per_second": round(len(examples) / seconds, 3),
        "eval_steps_per_second": round(passes / seconds, 3),
        "eval_tokens": tokens,
    }
    results |= {"eval_accuracy": correct / tokens} if want_accuracy else {}
    for name, sums in parts.items():
        results |= sums.results(name, want_accuracy=want_accuracy)
    return results


@dataclass
class _Sums:
    """What has been measured of one data set."""

    loss: float = 0.0
    correct: float = 0.0
    tokens: int = 0

    def results(self, name: str, *, want_accuracy: bool) -> dict[str, float]:
        """Its figures; none without a trained token."""
        if not self.tokens:
            return {}
        mean = self.loss / self.tokens
        found = {f"eval_{name}_loss": mean, f"eval_{name}_perplexity": _perplexity(mean)}
        found[f"eval_{name}_tokens"] = self.tokens
        return found | (
            {f"eval_{name}_accuracy": self.correct / self.tokens} if want_accuracy else {}
        )


def _add(parts: dict[str, _Sums], batch: Batch, found: Score, examples: Sequence[Example]) -> None:
    """Put the tokens of a batch down to the data sets of their examples."""
    count = len(batch.rows)
    documents_P = np.repeat(np.arange(count), batch.num_trained)
    nats = np.bincount(documents_P, -found.logprob_P.double().cpu().numpy(), count)
    tokens = np.bincount(documents_P, minlength=count)
    hits = found.correct_P
    correct = np.zeros(count) if hits is None else np.bincount(documents_P, hits.cpu(), count)
    for i, row in enumerate(batch.rows):
        sums = parts.setdefault(examples[row].origin.dataset, _Sums())
        sums.loss += float(nats[i])
        sums.tokens += int(tokens[i])
        sums.correct += float(correct[i])


def _perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _batches(examples: Sequence[Example], max_tokens: int, share: bool) -> Iterator[Batch]:
    """All examples in order, some batches' worth at a time."""
    window: list[int] = []
    held = 0
    for index, example in enumerate(examples):
        window.append(index)
        held += len(example.ids)
        if held >= _WINDOW_BATCHES * max_tokens:
            yield from lay_out(examples, window, max_tokens=max_tokens, share=share)
            window, held = [], 0
    if window:
        yield from lay_out(examples, window, max_tokens=max_tokens, share=share)
