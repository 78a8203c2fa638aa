"""What an optimizer step counts: examples, packs of them, or buckets of like length."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tunesmith.config.run import Run
from tunesmith.data import order
from tunesmith.data.batches import packs
from tunesmith.data.packing import Bins

Unit = Literal["examples", "packs", "buckets"]


def unit_of(run: Run, *, carries_state: bool) -> Unit:
    """What the batch size of a run counts.

    Args:
        run: what was asked.
        carries_state: some layers of the model carry state from token to token: documents
            cannot be laid end to end, only side by side.
    """
    if not (run.dataset.packing or run.dataset.neat_packing):
        return "examples"
    return "buckets" if carries_state else "packs"


class Units:
    """Which examples a step holds: a pure function of (seed, number of the step).

    Packs of one epoch are kept while it lasts.

    Args:
        lengths: tokens of every example, (N,) int.
        run: what was asked.
        unit: what a step counts.
    """

    def __init__(self, lengths: np.ndarray, run: Run, unit: Unit) -> None:
        self.lengths, self._run = lengths, run
        self.unit: Unit = unit
        self._epoch, self._packs = -1, Bins(np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.count = len(lengths) if unit == "examples" else len(self._packs_of(0))
        """Units of one epoch."""
        self._per_step = run.global_batch()
        self.per_epoch = order.steps_per_epoch(self.count, global_batch=self._per_step)
        """Optimizer steps of one epoch."""

    def examples(self, number: int) -> list[int]:
        """Indices of the examples of one optimizer step."""
        rows = order.step_rows(
            number,
            rows=self.count,
            global_batch=self._per_step,
            seed=self._run.train.seed,
            shuffle=not self._run.dataset.disable_shuffling,
        ).tolist()
        if self.unit == "examples":
            return rows
        packed = self._packs_of((number - 1) // self.per_epoch)
        return [index for row in rows for index in packed[row].tolist()]

    def _packs_of(self, epoch: int) -> Bins:
        if epoch != self._epoch:
            self._packs = packs(
                self.lengths,
                cutoff_len=self._run.dataset.cutoff_len,
                seed=self._run.train.seed,
                epoch=epoch,
                bucketed=self.unit == "buckets",
            )
            self._epoch = epoch
        return self._packs
