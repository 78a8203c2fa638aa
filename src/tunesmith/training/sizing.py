"""How long to train on how many rows: the settings that `init` writes, and when a plan warns.

A tune needs a number of optimizer steps, not of epochs: 20 rows at 8 per step and three epochs
are 9 steps, which leave the model as it was. Few rows are therefore taken in smaller steps, and
more often; from about 1,000 rows on the settings are those of the field.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tunesmith.training.plan import steps_of

ENOUGH_STEPS = 120
"""The fewest steps that `init` plans."""
FEW_STEPS = 30
"""Below this a plan says so."""
_BATCHES = (8, 4, 2, 1)
_EPOCHS, _MANY_EPOCHS = 3, 5
_MANY_STEPS = 375
"""From here on, 1,000 rows in three epochs of 8, the cautious rate has time to act."""
_RATES = ((1024, 1e-3), (2049, 5e-4))
"""(width of the model below, rate): narrow models need and bear more."""
_WIDE_RATE, _CAUTIOUS_RATE = 2e-4, 1e-4
_POINTS = 10


class Sizing(NamedTuple):
    """Settings of LoRA for so many rows."""

    batch: int
    """Examples of one optimizer step."""
    epochs: int
    steps: int
    learning_rate: float
    logging_steps: int

    def why(self, rows: int) -> str:
        """The reason in one line; "" where the settings are the usual ones."""
        if self.steps >= _MANY_STEPS:
            return ""
        usual = steps_of(rows, global_batch=_BATCHES[0], epochs=_EPOCHS, max_steps=None)[1]
        said = (
            f"sized for little data, {rows} examples to learn from: {self.steps} steps at this "
            "rate."
        )
        rate = in_yaml(_CAUTIOUS_RATE)
        if usual == self.steps:
            return f"{said} At {rate}, right for thousands of steps, they would change little."
        return (
            f"{said} {_EPOCHS} epochs of {_BATCHES[0]} per step, {usual} steps at {rate}, "
            "would change little."
        )


def sized(rows: int, width: int) -> Sizing:
    """Settings that change the model visibly, however few the rows are.

    Args:
        rows: to learn from.
        width: hidden size of the model.
    """
    at_least = ENOUGH_STEPS / _MANY_EPOCHS
    batch = next((size for size in _BATCHES if rows / size >= at_least), 1)
    per_epoch = math.ceil(rows / batch)
    epochs = max(_EPOCHS, math.ceil(ENOUGH_STEPS / per_epoch))
    steps = epochs * per_epoch
    small = next((rate for below, rate in _RATES if width < below), _WIDE_RATE)
    return Sizing(
        batch,
        epochs,
        steps,
        small if steps < _MANY_STEPS else _CAUTIOUS_RATE,
        max(1, min(10, steps // _POINTS)),
    )


def in_yaml(rate: float) -> str:
    """`1.0e-4`, as run files write it."""
    return f"{rate:.1e}".replace("e-0", "e-")


def few_steps(steps: int, *, per_epoch: int) -> list[str]:
    """What a reader of a plan has to know about a run that is too short to learn from."""
    if steps >= FEW_STEPS:
        return []
    epochs = math.ceil(ENOUGH_STEPS / per_epoch)
    count = "1 step" if steps == 1 else f"{steps} steps"
    return [
        f"only {count}: hardly enough to change the model; try num_train_epochs={epochs} "
        f"({epochs * per_epoch} steps), or fewer examples per step"
    ]
