"""How long the examples of a run are, what of them is learned, and what each layout wastes.

Everything comes from the records of the token store, in arrays: ten million rows take seconds, and
no token is read. N examples.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from tunesmith.data import order
from tunesmith.data.batches import packs
from tunesmith.data.token_store import Examples

_BARS = 12
KEPT = (0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Spread:
    """One quantity over the examples."""

    total: int
    mean: float
    median: int
    p95: int
    p99: int
    most: int


@dataclass(frozen=True)
class Part:
    """What comes from one data set."""

    name: str
    examples: int
    tokens: int
    trained: int


@dataclass(frozen=True)
class Layout:
    """One way to lay an epoch into batches."""

    name: str
    positions: int
    """For tokens, those included that stay empty or hold padding."""
    waste: float
    """Share of the positions without a token."""
    steps: int
    """Optimizer steps per epoch."""
    chosen: bool = False
    """Whether the run does it so."""


@dataclass(frozen=True)
class Cutoff:
    """What `cutoff_len` does to the texts, training and held out."""

    cutoff_len: int
    texts: int
    over: int
    """Texts that are longer, whole."""
    shortened: int
    """Texts that fit after something was cut."""
    left_out: int
    """Texts that do not."""
    keeps_whole: dict[str, int]
    """Share of all texts -> the cutoff that leaves them whole."""
    keeps_answers: dict[str, int]
    """Share of all texts -> the cutoff that keeps their answers, as `truncation` shortens."""


@dataclass(frozen=True)
class Histogram:
    """Examples by length."""

    width: int
    """Tokens of a bar."""
    starts: tuple[int, ...]
    """Tokens from which each bar counts."""
    open_ended: bool
    """Whether the last bar holds everything that is longer, too."""
    total: tuple[int, ...]
    """Examples in each bar."""
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """Of the training examples of a run, in the quantities that decide about settings."""

    examples: int
    held_out: int
    total: Spread
    """Tokens of an example."""
    prompt: Spread
    """Tokens that are not learned: system, tools, questions, and what else is context."""
    answer: Spread
    """Tokens that are learned."""
    turns: Spread
    """Answers of the row that an example comes from."""
    histogram: Histogram
    parts: tuple[Part, ...]
    layouts: tuple[Layout, ...]
    cutoff: Cutoff

    @property
    def trained(self) -> float:
        """Share of the tokens that is learned."""
        return self.answer.total / self.total.total

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "trained": self.trained}


class Batching(NamedTuple):
    """The settings of a run that decide about its batches."""

    cutoff_len: int
    batch_size: int
    """Rows that would be padded together."""
    global_batch: int
    seed: int
    shuffle: bool = True
    unit: str = "examples"
    """What the run counts: examples, packs or buckets; see `training.units`."""


def statistics(train: Examples, held_out: Examples, how: Batching) -> Statistics:
    """Statistics of what a run learns from.

    Args:
        train: at least one example.
        held_out: only counted.
        how: the settings of the run.
    """
    lengths = train.lengths
    laid_out = layouts(lengths, how)  # what takes the most memory comes first
    trained = train.num_trained.astype(np.int64)
    prompt = lengths - trained
    return Statistics(
        examples=len(train),
        held_out=len(held_out),
        total=spread(lengths),
        prompt=spread(prompt),
        answer=spread(trained),
        turns=spread(train.records("turns")),
        histogram=histogram(lengths, prompt, trained),
        parts=parts(train),
        layouts=laid_out,
        cutoff=cutoff(train.asked, how.cutoff_len),
    )


def spread(values: np.ndarray) -> Spread:
    """Percentiles are values that there are: the smallest with that share at or below it."""
    counts = np.bincount(values)
    p50, p95, p99 = (reached(counts, share) for share in (0.5, 0.95, 0.99))
    total = int(values.sum(dtype=np.int64))
    return Spread(total, total / len(values), p50, p95, p99, len(counts) - 1)


def reached(counts: np.ndarray, share: float) -> int:
    """The smallest index up to which a share of all counts lies, (K,) int."""
    upto = np.cumsum(counts)
    return int(np.searchsorted(upto, np.ceil(share * upto[-1] - 1e-9)))


def histogram(total: np.ndarray, prompt: np.ndarray, answer: np.ndarray) -> Histogram:
    """About a dozen bars of one width, a round number of tokens; few long ones share the last."""
    counts = np.bincount(total)
    end = min(reached(counts, 0.99), 2 * reached(counts, 0.95)) + 1
    width = _round_width(end / _BARS)
    bars = max(1, -(-end // width))
    starts = tuple(range(0, bars * width, width))

    def counted(values: np.ndarray) -> tuple[int, ...]:
        places = np.minimum(values // width, bars - 1)
        return tuple(np.bincount(places, minlength=bars).tolist())

    open_ended = int(total.max()) >= bars * width
    return Histogram(width, starts, open_ended, counted(total), counted(prompt), counted(answer))


def parts(train: Examples) -> tuple[Part, ...]:
    """What comes from each data set, in the order in which they came."""
    names = train.datasets()
    owners = train.owners(list(names))
    sums = [
        np.bincount(owners, weights=values, minlength=len(names)).astype(np.int64).tolist()
        for values in (train.lengths, train.num_trained)
    ]
    rows = zip(names, names.values(), *sums, strict=True)
    return tuple(Part(*row) for row in rows)


def layouts(lengths: np.ndarray, how: Batching) -> tuple[Layout, ...]:
    """What every layout makes of the first epoch.

    Args:
        lengths: tokens of each example, (N,) int64.
        how: the settings of the run.
    """
    tokens = int(lengths.sum())
    steps = order.steps_per_epoch(len(lengths), global_batch=how.global_batch)
    together = dict.fromkeys((how.batch_size, how.global_batch))
    found = [
        Layout(f"padded, {rows} at once", positions, 1 - tokens / positions, steps)
        for rows in together
        for positions in [padded(lengths, rows, how)]
        if rows > 1
    ]
    found.append(Layout("no padding", tokens, 0.0, steps, how.unit == "examples"))
    bucketed = how.unit == "buckets"
    made = packs(lengths, cutoff_len=how.cutoff_len, seed=how.seed, bucketed=bucketed)
    positions = len(made) * how.cutoff_len
    if bucketed:
        positions = int((np.diff(made.ends, prepend=0) * made.longest(lengths)).sum())
    fewer = order.steps_per_epoch(len(made), global_batch=how.global_batch)
    name = "packing: true" + (", like lengths" if bucketed else "")
    found.append(Layout(name, positions, 1 - tokens / positions, fewer, how.unit != "examples"))
    return tuple(found)


def padded(lengths: np.ndarray, rows: int, how: Batching) -> int:
    """Positions of an epoch in which so many rows at once are padded to the longest of them."""
    if how.shuffle:
        lengths = lengths[order.permutation(len(lengths), seed=how.seed, epoch=0)]
    starts = np.arange(0, len(lengths), rows)
    sizes = np.diff(starts, append=len(lengths))
    return int((np.maximum.reduceat(lengths, starts) * sizes).sum())


def cutoff(asked: np.ndarray, cutoff_len: int) -> Cutoff:
    """What a cutoff does.

    Args:
        asked: lengths before anything was cut, (K,) `token_store.LENGTH`.
        cutoff_len: of the run.
    """
    tokens = asked["tokens"]

    def keeps(name: str) -> dict[str, int]:
        return {f"{100 * share:g} %": int(tokens[reached(asked[name], share)]) for share in KEPT}

    beyond = tokens > cutoff_len
    over, left_out = (int(asked[name][beyond].sum()) for name in ("whole", "needed"))
    return Cutoff(
        cutoff_len=cutoff_len,
        texts=int(asked["whole"].sum()),
        over=over,
        shortened=over - left_out,
        left_out=left_out,
        keeps_whole=keeps("whole"),
        keeps_answers=keeps("needed"),
    )


def _round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … that is no less."""
    return next(n * 10**zeros for zeros in count() for n in (1, 2, 5) if n * 10**zeros >= least)
