"""Held-out rows, copies among rows, and the fingerprint of what is learned."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np

from tunesmith.data.ledger import counted
from tunesmith.data.order import permutation
from tunesmith.data.token_store import Examples
from tunesmith.errors import ConfigError
from tunesmith.types import Origin

_BLOCK = 1 << 16


def held_out_rows(rows: int, val_size: float) -> int:
    """Rows that `val_size` holds out of `rows`: ceil(share * rows), or the number itself."""
    return math.ceil(rows * val_size) if val_size < 1 else int(val_size)


def split(examples: Examples, val_size: float, seed: int) -> tuple[Examples, Examples]:
    """Hold rows out of the examples; both parts keep the order of the files.

    All examples of one row are on the same side.

    Args:
        examples: all of them.
        val_size: a share below 1 or a whole number of rows; see `held_out_rows`.
        seed: decides which rows; the same rows for the same seed and number of rows.

    Returns:
        Training and held-out examples, disjoint.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    rows = examples.records("row")
    assert (rows[1:] >= rows[:-1]).all(), "examples of one row follow one another"
    places = np.cumsum(np.diff(rows, prepend=-1) != 0) - 1
    total = int(places[-1]) + 1 if len(places) else 0
    count = held_out_rows(total, val_size)
    if count >= total:
        need = f"less than the {counted(total)} that can be used"
        raise ConfigError("val_size", got=counted(count), need=need)
    held = np.zeros(total, bool)
    held[permutation(total, seed=seed, epoch="held out")[:count]] = True
    on_side = held[places]
    return examples.choose(~on_side), examples.choose(on_side)


class Copies(NamedTuple):
    """Rows that equal a training row which stands before them or on the other side."""

    number: int
    first: tuple[Origin, Origin] | None
    """The first copy and the training row that it equals."""


def copies(train: Examples, held_out: Examples) -> tuple[Copies, Copies]:
    """Training rows that equal an earlier one, and held-out rows that are training rows.

    Rows are equal when all ids and trained flags of all their examples are.
    """
    several: dict[bytes, int] = {}
    here, kinds = _repeated(train, several)
    there, kinds_there = _repeated(held_out, several)
    known, firsts = np.unique(kinds, return_index=True)
    twice = np.setdiff1d(np.arange(len(here)), firsts, assume_unique=True)
    leaked = np.flatnonzero(np.isin(kinds_there, known))

    def told(side: Examples, indices: np.ndarray, kinds: np.ndarray, found: np.ndarray) -> Copies:
        if not len(found):
            return Copies(0, None)
        original = here[firsts[np.searchsorted(known, kinds[found[0]])]]
        pair = side.origin(int(indices[found[0]])), train.origin(int(original))
        return Copies(len(found), pair)

    return told(train, here, kinds, twice), told(held_out, there, kinds_there, leaked)


def _repeated(side: Examples, several: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which no example is alone: index of the first, and what the row teaches, (R,) both.

    That is the kind of its one example, or a negative number for the kinds of several.

    Args:
        side: in the order of the store.
        several: the negative numbers so far, by kinds; gets those that are new.
    """
    rows, found = side.records("row"), side.repeated()
    indices, kinds = found.T
    own = rows[indices]
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    sizes = np.diff(starts, append=len(own))
    numbers = own[starts]
    counts = np.searchsorted(rows, numbers, "right") - np.searchsorted(rows, numbers, "left")
    starts, sizes = starts[sizes == counts], sizes[sizes == counts]
    taught = kinds[starts]
    for place in np.flatnonzero(sizes > 1).tolist():
        parts = kinds[starts[place] : starts[place] + sizes[place]].tobytes()
        taught[place] = several.setdefault(parts, -1 - len(several))
    return indices[starts], taught


def fingerprint(train: Examples, held_out: Examples | None = None) -> str:
    """sha256 of what is learned and what is held out: all ids and trained flags, in order."""
    sides = (train,) if held_out is None else (train, held_out)
    whole = hashlib.sha256(" ".join(str(len(side)) for side in sides).encode())
    for side in sides:
        for start in range(0, len(side), _BLOCK):
            whole.update(side.digests(start, start + _BLOCK).tobytes())
    return whole.hexdigest()
