"""A seeded sample of rows that stands for all of them, so that a plan need not prepare them all.

The rows of the sample are prepared as all would be; then each is pointed to as often as it stands
for others, and whatever is counted of an epoch is counted as ever. What that makes is an estimate,
and says so (`Sampled`). Training never sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.data.entry import Entry
from tunesmith.data.mix import Part, rows_of, spread
from tunesmith.data.order import permutation
from tunesmith.data.population import Population, population, shares
from tunesmith.data.token_store import Examples

_NEIGHBOURS = 1024
"""Rows of a sample among which the order is drawn: those for which one stands are spread over the
files about as far as the sample is from knowing where they are."""
_SURE = 1.96
"""Standard errors within which 95 % of all samples fall."""
_COUNTED = {
    "lines": "lines",
    "text": "lines",
    "array": "elements of the array",
    "csv": "records",
    "tsv": "records",
    "parquet": "metadata of the file",
    "arrow": "record batches",
}


class Sampling(NamedTuple):
    """When a sample stands for all rows, and how many rows it has."""

    above: int = 50_000
    """More rows than these."""
    rows: int = 10_000
    asked: bool = False
    """Also where all rows have been prepared before."""


BY_DEFAULT = Sampling()
"""Of a plan for which nothing was asked."""


class Sampled(NamedTuple):
    """What an estimate was made from."""

    rows: int
    """Of the sample."""
    of: int
    """Rows that the run takes, of all datasets."""
    counted: str
    """How they were counted; the number is exact."""
    seed: int
    one_each: bool
    """Whether every row of the sample became one example: then the number of examples is that of
    the rows, if those outside the sample do likewise."""
    tokens_within: float
    """Share by which the tokens of an epoch may be off, with 95 % certainty."""


class Drawn(NamedTuple):
    """Rows of the datasets of a run, in the order of its entries."""

    names: tuple[str, ...]
    whole: tuple[Population, ...]
    parts: tuple[Population, ...]
    """What is read of them."""
    seed: int

    def only(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(rows of the sample, rows that they stand for) of some datasets."""
        found: dict[str, tuple[int, int]] = {name: (0, 0) for name in names}
        for name, part, whole in zip(self.names, self.parts, self.whole, strict=True):
            if name in found:
                read, of = found[name]
                found[name] = read + len(part.numbers), of + len(whole.numbers)
        return found

    @property
    def of(self) -> int:
        """Rows that the sample stands for."""
        return sum(len(one.numbers) for one in self.whole)

    def identity(self) -> list[int]:
        """What decides which rows these are, together with the files."""
        return [self.seed, *(len(one.numbers) for one in self.parts)]


def draw(
    entries: Sequence[tuple[Entry, bool]], how: Sampling, *, max_samples: int | None, seed: int
) -> Drawn | None:
    """A sample of the rows that a run takes; `None` where these are few.

    Args:
        entries: the datasets of the run, fetched, and whether they are held out.
        how: many rows.
        max_samples: of the run.
        seed: of the run.

    Raises:
        DataError: a file that cannot be read.
    """
    if max_samples is not None and max_samples * len(entries) <= how.above:
        return None  # whatever the files hold: they need not be counted
    whole = tuple(population(entry, max_samples=max_samples, seed=seed) for entry, _ in entries)
    sizes = [len(one.numbers) for one in whole]
    if sum(sizes) <= how.above:
        return None
    wanted = shares(sizes, how.rows)
    parts = tuple(one.drawn(rows, seed=seed) for one, rows in zip(whole, wanted, strict=True))
    return Drawn(tuple(entry.name for entry, _ in entries), whole, parts, seed)


def scaled(sample: Examples, drawn: Drawn, datasets: Sequence[str]) -> Examples:
    """Examples that point to those of a sample as often as these stand for others.

    Of a dataset of which the sample can use every row there are as many as it has rows, of others
    in proportion. All rows of a sample stand for equally many others, but for one.

    Args:
        sample: examples of some datasets.
        drawn: which rows were read.
        datasets: their names.
    """
    rows, chosen = rows_of(sample, datasets), [np.zeros(0, np.int64)]
    for place, (name, (read, of)) in enumerate(drawn.only(datasets).items()):
        mine = np.flatnonzero(rows.owners == place)
        count = round(of * len(mine) / read) if len(mine) else 0
        stands = np.arange(count) * len(mine) // max(count, 1)
        moved = permutation(count, seed=drawn.seed, epoch=f"stand {name}") / max(count, 1)
        chosen.append(mine[stands[np.argsort(stands + _NEIGHBOURS * moved, kind="stable")]])
    order = np.concatenate(chosen)
    return sample.standing(
        spread(rows, order), rows=np.repeat(np.arange(len(order)), rows.counts[order])
    )


def told(
    sample: Examples, drawn: Drawn, parts: Sequence[Part], tokens: int, *, one_each: bool
) -> Sampled:
    """What an estimate was made from, and how far off it may be.

    Args:
        sample: the examples that can be learned from.
        drawn: which rows were read.
        parts: what an epoch takes of each dataset, scaled.
        tokens: of an epoch, scaled.
        one_each: see `Sampled`.
    """
    names, variance = [part.dataset for part in parts], 0.0
    rows = rows_of(sample, names)
    of_rows = np.add.reduceat(sample.lengths, rows.first) if len(rows.first) else rows.first
    for place, (part, (read, of)) in enumerate(zip(parts, drawn.only(names).values(), strict=True)):
        mine = of_rows[rows.owners == place].astype(np.float64)
        if not len(mine) or read < 2:
            continue
        squares = (mine**2).sum() - mine.sum() ** 2 / read  # rows that are not used have no tokens
        taken = part.taken * read / len(mine)
        variance += taken**2 * squares / (read - 1) / read * (1 - read / of)
    layouts = dict.fromkeys(_COUNTED[s.layout] for one in drawn.whole for s in one.sources)
    return Sampled(
        rows=sum(len(one.numbers) for one in drawn.parts),
        of=drawn.of,
        counted=", ".join(layouts),
        seed=drawn.seed,
        one_each=one_each,
        tokens_within=_SURE * math.sqrt(max(variance, 0.0)) / max(tokens, 1),
    )
