"""Which rows of a dataset a run takes, before any of them is read; and a few that stand for them.

Rows are only counted here. Numbers of rows in a dataset count from 0, through all of its files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.data.entry import Entry
from tunesmith.data.order import permutation
from tunesmith.data.rows import Source, count, open_sources
from tunesmith.data.sample import sample

_FEWEST = 200
"""Rows of a dataset that are read whatever its share is."""


class Population(NamedTuple):
    """Rows of a dataset."""

    sources: tuple[Source, ...]
    counts: tuple[int, ...]
    """Rows of each file."""
    numbers: np.ndarray
    """Of the rows that are taken, ascending, (N,) int64."""

    @property
    def there(self) -> int:
        """Rows of all files."""
        return sum(self.counts)

    def of_files(self) -> list[list[int]]:
        """For each file the rows that are taken of it; they count from 1 there."""
        borders = np.cumsum([0, *self.counts])
        places = np.searchsorted(self.numbers, borders)
        return [
            (self.numbers[first:last] - border + 1).tolist()
            for first, last, border in zip(places[:-1], places[1:], borders[:-1], strict=True)
        ]

    def drawn(self, rows: int, *, seed: int) -> Population:
        """So many of them, the same for the same seed; all, where there are no more."""
        if rows >= len(self.numbers):
            return self
        chosen = permutation(len(self.numbers), seed=seed, epoch="stand for all")[:rows]
        return self._replace(numbers=self.numbers[np.sort(chosen)])


def population(entry: Entry, *, max_samples: int | None, seed: int) -> Population:
    """The rows of a dataset that a run takes.

    Where it asks for more than there are, all of them: the mix repeats them, not the store.

    Args:
        entry: of the registry, fetched.
        max_samples: the first rows of it (or of the sample that it asks for), `None`: all.
        seed: of the sample.

    Raises:
        DataError: a file that cannot be read.
    """
    sources = tuple(source for path in entry.paths for source in open_sources(path))
    counts = tuple(map(count, sources))
    there, wanted = sum(counts), entry.num_samples
    if wanted is None:
        numbers = np.arange(min(there, max_samples or there))
    else:
        wanted = min(wanted, max_samples or wanted)
        numbers = np.arange(there) if wanted >= there else sample(there, wanted, seed)
    return Population(sources, counts, numbers)


def shares(sizes: Sequence[int], rows: int) -> list[int]:
    """How many rows are read of datasets so that about `rows` stand for all.

    Args:
        sizes: rows of each dataset.
        rows: in all; a small dataset gives more than its share.
    """
    total = sum(sizes)
    return [min(size, max(_FEWEST, round(rows * size / total))) for size in sizes]
