"""The largest micro-batch of a run, tried before the first step: what cannot fit fails at once.

Nothing is learned from the trial and nothing changes: its gradients are thrown away, dropout is
drawn from counters, it is no step. On a GPU it takes a fraction of a second and is always made. On
a processor a micro-batch may take a minute, and there is hardly ever too little memory: there it
is made only where the plan comes near to what is free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.data import prefixes
from tunesmith.data.batches import lay_out
from tunesmith.data.packing import best_fit_decreasing
from tunesmith.training.memory.solve import LONG, Use
from tunesmith.training.plan import Plan
from tunesmith.training.units import Units
from tunesmith.types import Batch, Example

_MOST_STEPS = 4096
"""Steps that are looked at; a micro-batch among them is hardly smaller than the largest."""
_LAID_OUT = 16
"""The fullest of them, which are laid out as the run does it."""
_AMPLE = 0.5
"""Share of the free memory up to which a processor is not troubled with a trial."""


def to_try(plan: Plan, units: Units, examples: Sequence[Example]) -> Batch | None:
    """The micro-batch with the most tokens; `None` where trying it tells nothing.

    That is where memory is ample, and where the first step has one as large.

    Args:
        plan: of the run.
        units: which examples a step holds.
        examples: of the run.
    """
    if plan.device == "cpu" and plan.memory_needed <= _AMPLE * plan.memory_free:
        return None
    cap, looked_at = plan.micro_batch_tokens, range(1, min(plan.steps, _MOST_STEPS) + 1)
    lengths = units.lengths
    number = max(looked_at, key=lambda number: _size(lengths[units.examples(number)], cap))
    found, first = (_fullest(examples, units.examples(n), cap) for n in (number, 1))
    return found if len(found.ids_T) > len(first.ids_T) else None


def used(
    units: Units, examples: Sequence[Example], *, steps: int, max_tokens: int, share: bool
) -> tuple[int, Use]:
    """(tokens of the fullest micro-batch that a run has, what else is known of them).

    Args:
        units: which examples a step holds.
        examples: of the run.
        steps: of the run.
        max_tokens: that a micro-batch may hold.
        share: whether what rows begin with in common stands once.
    """
    lengths, looked_at = units.lengths, range(1, min(steps, _MOST_STEPS) + 1)
    held = [units.examples(number) for number in looked_at]
    sums = np.array([int(lengths[rows].sum()) for rows in held])
    fullest = sorted(held, key=lambda rows: -_size(lengths[rows], max_tokens))[:_LAID_OUT]
    sizes = [_sizes(examples, rows, max_tokens, share=share) for rows in fullest]
    whole = sums <= max_tokens  # one micro-batch each, of as many tokens
    batches = np.ceil(sums[~whole] / max_tokens).sum()
    different = len(np.unique(sums[whole])) + min(int(batches), max_tokens)
    use = Use(
        several=any(len(step) > 1 for step in sizes),
        sizes=different,
        long_documents=len(np.unique(lengths[lengths > LONG])),
    )
    return max(max(step) for step in sizes), use


def _sizes(
    examples: Sequence[Example], rows: Sequence[int], max_tokens: int, *, share: bool
) -> list[int]:
    """Tokens of the micro-batches of a step."""
    if share:
        counts = [part.tokens for part in prefixes.parts(examples, rows, max_tokens=max_tokens)]
    else:
        counts = [len(examples[row].ids) for row in rows]
    bins = best_fit_decreasing(counts, capacity=max_tokens)
    return [sum(counts[i] for i in items.tolist()) for items in bins]


def _size(lengths: np.ndarray, max_tokens: int) -> int:
    """Tokens of the fullest micro-batch of a step, nearly."""
    return max(int(lengths.max()), min(int(lengths.sum()), max_tokens))


def _fullest(examples: Sequence[Example], rows: Sequence[int], max_tokens: int) -> Batch:
    return max(lay_out(examples, rows, max_tokens=max_tokens), key=lambda b: len(b.ids_T))
