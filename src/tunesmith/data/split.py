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
    numbers, rows = np.unique(examples.records("row"), return_inverse=True)
    count = held_out_rows(len(numbers), val_size)
    if count >= len(numbers):
        need = f"less than the {counted(len(numbers))} that can be used"
        raise ConfigError("val_size", got=counted(count), need=need)
    held = np.zeros(len(numbers), bool)
    held[permutation(len(numbers), seed=seed, epoch="held out")[:count]] = True
    return examples.choose(~held[rows]), examples.choose(held[rows])


class Copies(NamedTuple):
    """Rows that equal a training row which stands before them or on the other side."""

    number: int
    first: tuple[Origin, Origin] | None
    """The first copy and the training row that it equals."""


def copies(train: Examples, held_out: Examples) -> tuple[Copies, Copies]:
    """Training rows that equal an earlier one, and held-out rows that are training rows.

    Rows are equal when all ids and trained flags of all their examples are.
    """
    first: dict[tuple[int, ...], int] = {}  # of the rows that may have a copy: kinds -> index
    twice: list[tuple[int, int]] = []
    for index, kinds in _repeated(train):
        if kinds in first:
            twice.append((index, first[kinds]))
        first.setdefault(kinds, index)
    leaked = [(i, first[kinds]) for i, kinds in _repeated(held_out) if kinds in first]
    return _told(train, train, twice), _told(held_out, train, leaked)


def _repeated(side: Examples) -> list[tuple[int, tuple[int, ...]]]:
    """Rows of which no example is alone: index of the first, and the kinds of all of them."""
    found: dict[int, list[tuple[int, int]]] = {}
    rows = side.records("row")
    for index, kind in side.repeated():
        found.setdefault(int(rows[index]), []).append((index, kind))
    numbers = np.array([*found], rows.dtype)
    counts = np.searchsorted(rows, numbers, "right") - np.searchsorted(rows, numbers, "left")
    return [
        (parts[0][0], tuple(kind for _, kind in parts))
        for parts, count in zip(found.values(), counts.tolist(), strict=True)
        if len(parts) == count
    ]


def _told(here: Examples, train: Examples, pairs: list[tuple[int, int]]) -> Copies:
    if not pairs:
        return Copies(0, None)
    copy, original = pairs[0]
    return Copies(len(pairs), (here.origin(copy), train.origin(original)))


def fingerprint(train: Examples, held_out: Examples | None = None) -> str:
    """sha256 of what is learned and what is held out: all ids and trained flags, in order."""
    sides = (train,) if held_out is None else (train, held_out)
    whole = hashlib.sha256(" ".join(str(len(side)) for side in sides).encode())
    for side in sides:
        for start in range(0, len(side), _BLOCK):
            whole.update(side.digests(start, start + _BLOCK).tobytes())
    return whole.hexdigest()
