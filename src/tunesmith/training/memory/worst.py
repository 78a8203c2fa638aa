"""The largest micro-batch of a run, tried before the first step: what cannot fit fails at once.

Nothing is learned from the trial and nothing changes: its gradients are thrown away, dropout is
drawn from counters, it is no step. On a GPU it takes a fraction of a second and is always made. On
a processor a micro-batch may take a minute, and there is hardly ever too little memory: there it
is made only where the plan comes near to what is free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.data.batches import lay_out
from tunesmith.training.plan import Plan
from tunesmith.training.units import Units
from tunesmith.types import Batch, Example

_MOST_STEPS = 4096
"""Steps that are looked at; a micro-batch among them is hardly smaller than the largest."""
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


def _size(lengths: np.ndarray, max_tokens: int) -> int:
    """Tokens of the fullest micro-batch of a step, nearly."""
    return max(int(lengths.max()), min(int(lengths.sum()), max_tokens))


def _fullest(examples: Sequence[Example], rows: Sequence[int], max_tokens: int) -> Batch:
    return max(lay_out(examples, rows, max_tokens=max_tokens), key=lambda b: len(b.ids_T))
