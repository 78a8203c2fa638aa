"""Which rows an epoch takes of each dataset, and in which order: an index over the token store.

Rows are stored once; a row that comes several times is pointed to several times. Places are
those of `datasets.interleave_datasets`, draws included: PCG64 keeps its raw stream across
versions of numpy, and a draw is where its uniform number falls among the shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.data.sample import sample
from tunesmith.data.token_store import Examples
from tunesmith.errors import ConfigError, DataError

CONCAT, UNDER, OVER, ONCE = "concat", "interleave_under", "interleave_over", "interleave_once"
_BLOCK = 1 << 16
_MOST_DRAWS = 1 << 27
_MOST_PER_ROW = 1000


class Mixing(NamedTuple):
    """How datasets are put together; the keys of the run file."""

    strategy: str = CONCAT
    probabilities: tuple[float, ...] = ()
    """Shares of the datasets; their sum does not matter. Empty: they take turns."""
    seed: int = 42


class Part(NamedTuple):
    """What an epoch takes of one dataset."""

    dataset: str
    rows: int
    """That can be learned from; held-out ones are not among them."""
    taken: int
    """Per epoch, repeats counted."""
    used: int
    """Different rows among them."""

    @property
    def repeats(self) -> int:
        """Times that a row comes which has come before in the epoch."""
        return self.taken - self.used

    @property
    def left_out(self) -> int:
        """Rows that never come."""
        return self.rows - self.used

    def as_dict(self) -> dict[str, str | int]:
        """For JSON."""
        return {**self._asdict(), "repeats": self.repeats, "left_out": self.left_out}


def mixed(
    train: Examples,
    usable: Examples,
    datasets: Sequence[str],
    how: Mixing,
    *,
    wanted: Mapping[str, int],
    where: Callable[[str], str] = str,
) -> tuple[Examples, tuple[Part, ...]]:
    """The examples of an epoch, in the order that `disable_shuffling` keeps.

    Args:
        train: what can be learned from, in the order of the files.
        usable: the same before rows were held out.
        datasets: names, in the order of the run file.
        how: they are put together. A single dataset stays as it is.
        wanted: rows of the datasets whose `num_samples` is more than they have.
        where: the place of a key of the run, for errors.

    Returns:
        Examples, all those of a row together, and what is taken of each dataset.

    Raises:
        DataError: a dataset that is drawn from has no row to learn from.
        ConfigError: with these probabilities an epoch has no end to speak of.
    """
    strategy = how.strategy if len(datasets) > 1 else CONCAT
    if strategy == CONCAT and not wanted:
        return train, _whole(train, datasets)
    rows = rows_of(train, datasets)
    lists = [np.flatnonzero(rows.owners == i).astype(np.int32) for i in range(len(datasets))]
    for i, name in enumerate(datasets):
        if name in wanted and len(lists[i]):
            _refuse_too_many(name, wanted[name], where)
            before = rows_of(usable, datasets)
            numbers = before.numbers[before.owners == i]
            again = numbers[sample(len(numbers), wanted[name], how.seed)]
            there = np.isin(again, rows.numbers)
            lists[i] = np.searchsorted(rows.numbers, again[there]).astype(np.int32)
    order, sizes = np.concatenate(lists), [len(numbers) for numbers in lists]
    del lists
    if strategy != CONCAT:
        _refuse_empty(datasets, sizes, how, where)
        _refuse_endless(datasets, sizes, how, where)
        order = order[interleave(sizes, how)]
    return train.take(spread(rows, order)), _parts(rows, datasets, order)


def interleave(sizes: Sequence[int], how: Mixing) -> np.ndarray:
    """Rows of several datasets in turn, (N,) int64, numbered as if they were joined.

    Without probabilities the datasets take turns in their order; with them each turn is drawn.
    Each dataset gives its rows in its own order, and begins again behind its last one.

        interleave_under  ends when a dataset has given its last row
        interleave_over   ends when every dataset has given its last row at least once
        interleave_once   passes over datasets that have given their last row, to the very end

    Args:
        sizes: rows of each dataset, at least 1 where it is drawn from.
        how: strategy, probabilities and seed.
    """
    lengths = np.asarray(sizes, np.int64)
    turns = _drawn(lengths, how) if how.probabilities else _in_turn(lengths, how.strategy)
    places = np.empty(len(turns), np.int64)
    for dataset, start in enumerate(np.cumsum(lengths) - lengths):
        mine = np.flatnonzero(turns == dataset)
        places[mine] = start + np.arange(len(mine)) % max(lengths[dataset], 1)
    return places


def table(parts: Sequence[Part], how: Mixing) -> tuple[str, ...]:
    """The mix in lines, for people; none where every row comes once, in its turn."""
    strategy = how.strategy if len(parts) > 1 else CONCAT
    if strategy == CONCAT and not any(part.repeats or part.left_out for part in parts):
        return ()
    total = sum(part.taken for part in parts)
    head = (f"mix_strategy {strategy}", "rows", "per epoch", "share", "repeats", "left out")
    rows: list[tuple[str, ...]] = [head]
    for part in parts:
        share = f"{100 * part.taken / total:.1f} %"
        counts = [f"{n:,}" for n in (part.rows, part.taken, part.repeats, part.left_out)]
        rows.append((f"  {part.dataset}", *counts[:2], share, *counts[2:]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return tuple(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


class Rows(NamedTuple):
    """Rows of examples in the order of the files, (N,) each."""

    numbers: np.ndarray
    owners: np.ndarray
    """Which dataset."""
    first: np.ndarray
    """Index of the first example."""
    counts: np.ndarray
    """Examples; they follow the first."""


def rows_of(examples: Examples, datasets: Sequence[str]) -> Rows:
    """The rows that examples come from.

    Args:
        examples: all those of a row together, in the order of the files.
        datasets: whose names decide the owners.
    """
    numbers = examples.records("row")
    assert (numbers[1:] >= numbers[:-1]).all(), "in the order of the files"
    first = np.flatnonzero(np.diff(numbers, prepend=-1))
    counts = np.diff(first, append=len(numbers)).astype(np.int32)
    return Rows(numbers[first], examples.owners(datasets)[first], first, counts)


def spread(rows: Rows, order: np.ndarray) -> np.ndarray:
    """Indices of all examples of some rows."""
    first, counts = rows.first[order], rows.counts[order]
    if (counts == 1).all():
        return first
    begins = np.cumsum(counts) - counts
    return np.repeat(first - begins, counts) + np.arange(counts.sum())


def _whole(examples: Examples, datasets: Sequence[str]) -> tuple[Part, ...]:
    """Every row once; counted in pieces, so that it takes no memory to speak of."""
    sizes, before = np.zeros(len(datasets), np.int64), -1
    for start in range(0, len(examples), _BLOCK):
        part = examples.take(np.arange(start, min(start + _BLOCK, len(examples))))
        numbers = part.records("row")
        new = np.diff(numbers, prepend=before) != 0
        sizes += np.bincount(part.owners(datasets)[new], minlength=len(datasets))
        before = int(numbers[-1])
    return tuple(Part(name, n, n, n) for name, n in zip(datasets, sizes.tolist(), strict=True))


def _parts(rows: Rows, datasets: Sequence[str], order: np.ndarray) -> tuple[Part, ...]:
    """What is taken of each dataset."""
    times = np.bincount(order, minlength=len(rows.numbers))
    found = []
    for i, name in enumerate(datasets):
        mine = times[rows.owners == i]
        found.append(Part(name, len(mine), int(mine.sum()), int((mine > 0).sum())))
    return tuple(found)


def _in_turn(lengths: np.ndarray, strategy: str) -> np.ndarray:
    """Which dataset each place belongs to where they take turns, (N,) int32."""
    if strategy == ONCE:
        owners = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        rounds = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return owners[np.argsort(rounds, kind="stable")]
    rounds = lengths.min() if strategy == UNDER else lengths.max()
    return np.tile(np.arange(len(lengths), dtype=np.int32), rounds)


def _drawn(lengths: np.ndarray, how: Mixing) -> np.ndarray:
    """Which dataset each place belongs to where it is drawn, (N,) int32."""
    shares = np.asarray(how.probabilities, np.float64)
    edges = np.cumsum(shares)
    edges /= edges[-1]
    bits = np.random.PCG64(how.seed)
    blocks, counts = [np.zeros(0, np.int32)], np.zeros(len(lengths), np.int64)
    while not _enough((counts >= lengths) & (shares > 0), how.strategy):
        uniform = (bits.random_raw(_BLOCK) >> np.uint64(11)) * 2.0**-53
        blocks.append(edges.searchsorted(uniform, side="right").astype(np.int32))
        counts += np.bincount(blocks[-1], minlength=len(lengths))
    turns = np.concatenate(blocks)
    rounds = _rounds(turns, len(lengths))
    if how.strategy == ONCE:
        rest = np.maximum(lengths - counts, 0)  # of one dataset: every draw would be another's
        kept = turns[rounds < lengths[turns]]
        return np.concatenate([kept, np.repeat(np.arange(len(lengths), dtype=np.int32), rest)])
    last_rows = np.flatnonzero(rounds == lengths[turns] - 1)  # where each gives its last row
    return turns[: (last_rows[0] if how.strategy == UNDER else last_rows[-1]) + 1]


def _enough(exhausted: np.ndarray, strategy: str) -> bool:
    if strategy == UNDER:
        return bool(exhausted.any())
    return int((~exhausted).sum()) <= (strategy == ONCE)


def _rounds(turns: np.ndarray, count: int) -> np.ndarray:
    """How often the dataset of each place has had a place before, (N,) int32."""
    rounds = np.empty(len(turns), np.int32)
    for dataset in range(count):
        places = np.flatnonzero(turns == dataset)
        rounds[places] = np.arange(len(places), dtype=np.int32)
    return rounds


def _refuse_too_many(name: str, samples: int, where: Callable[[str], str]) -> None:
    if samples > _MOST_DRAWS:
        raise DataError(
            f"{where('dataset')}: {name}", got=f"num_samples {samples:,}",
            need=f"at most {_MOST_DRAWS:,} where rows are repeated",
            hint="a larger num_train_epochs repeats all rows",
        )  # fmt: skip


def _refuse_empty(
    datasets: Sequence[str], sizes: Sequence[int], how: Mixing, where: Callable[[str], str]
) -> None:
    shares = how.probabilities or (1.0,) * len(sizes)
    for name, size, share in zip(datasets, sizes, shares, strict=True):
        if not size and share:
            raise DataError(
                f"{where('dataset')}: {name}",
                got="no row that can be learned from",
                need=f"a row of every dataset that {how.strategy} draws from; bad rows, rows over "
                "the cutoff and held-out rows are none",
                hint=f"leave {name} out, or mix_strategy: concat",
            )


def _refuse_endless(
    datasets: Sequence[str], sizes: Sequence[int], how: Mixing, where: Callable[[str], str]
) -> None:
    if how.strategy == UNDER or (how.strategy == ONCE and not how.probabilities):
        return  # no longer than all rows together, or nearly so
    shares = np.array(how.probabilities or [1.0] * len(sizes)) / (
        sum(how.probabilities) or len(sizes)
    )
    draws = np.array(sizes) / shares
    which = np.argsort(draws)[-2 if how.strategy == ONCE else -1]  # what is last needs no draws
    most = min(_MOST_DRAWS, _MOST_PER_ROW * sum(sizes))
    if draws[which] > most:
        name = datasets[which]
        raise ConfigError(
            where("interleave_probs" if how.probabilities else "mix_strategy"),
            got=f"a share of {shares[which]:.2g} for {name}: about {draws[which]:,.0f} draws until "
            f"all its {sizes[which]:,} rows have come",
            need=f"at most {most:,}",
            hint=f"a larger share for {name}, or mix_strategy: interleave_under",
        )
