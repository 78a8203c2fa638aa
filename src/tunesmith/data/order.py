"""Which rows an optimizer step takes: a pure function of (seed, epoch, step), never of history.

So resuming is a number, and the same rows fall into the same steps on any number of ranks.
Steps and rows: steps count from 1, epochs and rows from 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tunesmith.data.packing import balance


def permutation(n: int, *, seed: int, epoch: int | str) -> np.ndarray:
    """A keyed permutation of 0 … n - 1, (n,) int64, read-only.

    Rows are sorted by the raw 64-bit output of Philox (Salmon et al. 2011), whose stream
    numpy keeps fixed across versions, unlike `Generator.permutation`.

    Args:
        n: number of rows.
        seed: the run's seed, any integer.
        epoch: number of the epoch, or the name of another use of the same seed.
    """
    digest = hashlib.sha256(f"tunesmith order {seed} {epoch}".encode()).digest()
    bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
    order = np.argsort(bits.random_raw(n), kind="stable").astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


_of_epoch = lru_cache(maxsize=2)(permutation)  # the steps of an epoch ask for it again and again


def steps_per_epoch(rows: int, *, global_batch: int) -> int:
    """Optimizer steps of one epoch; the last one holds what is left (4,019 / 8 is 503)."""
    return -(-rows // global_batch)


def step_rows(
    number: int, *, rows: int, global_batch: int, seed: int, shuffle: bool = True
) -> np.ndarray:
    """Rows of one optimizer step, (at most global_batch,) int64.

    Over the steps of an epoch every row comes exactly once.

    Args:
        number: the step, from 1, through all epochs.
        rows: number of training examples (or of packs), at least 1.
        global_batch: examples per step over all ranks and accumulated micro-batches.
        seed: the run's seed.
        shuffle: `False` (`disable_shuffling`): in the order of the files.
    """
    assert number >= 1, "steps count from 1"
    assert rows >= 1, "a run has rows"
    epoch, step = divmod(number - 1, steps_per_epoch(rows, global_batch=global_batch))
    first = step * global_batch
    last = min(first + global_batch, rows)
    if not shuffle:
        return np.arange(first, last, dtype=np.int64)
    return _of_epoch(rows, seed=seed, epoch=epoch)[first:last]


def rank_rows(rows: Sequence[int], lengths: Sequence[int], *, rank: int, world: int) -> list[int]:
    """The part of a step's rows that one rank computes.

    The parts of all ranks are disjoint, together they are `rows`, and their tokens are
    nearly equal. A rank gets none when there are fewer rows than ranks.

    Args:
        rows: all rows of the step.
        lengths: tokens of each of them, in the same order.
        rank: from 0.
        world: number of ranks.
    """
    assert 0 <= rank < world, "ranks count from 0"
    assert len(rows) == len(lengths), "one length per row"
    return [int(rows[i]) for i in balance(lengths, shares=world)[rank]]
