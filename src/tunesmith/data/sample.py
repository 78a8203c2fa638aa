"""A seeded sample of the rows of a dataset (`num_samples`), not the head of the file."""

from __future__ import annotations

import numpy as np

from tunesmith.data.order import permutation


def sample(num_rows: int, num_samples: int, seed: int) -> np.ndarray:
    """Which rows are taken, (num_samples,) int64; rows count from 0 and ascend.

    More samples than rows take all rows again and again, and a sample of them once more. Two
    numbers of samples share as many rows as they can.

    Args:
        num_rows: rows of the dataset, at least 1.
        num_samples: how many are wanted.
        seed: the run's seed.
    """
    assert num_rows > 0, "a dataset without rows is refused before"
    whole, rest = divmod(num_samples, num_rows)
    chosen = permutation(num_rows, seed=seed, epoch="num_samples")[:rest]
    return np.concatenate([np.tile(np.arange(num_rows, dtype=np.int64), whole), np.sort(chosen)])
