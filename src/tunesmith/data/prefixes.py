"""Rows that begin alike, laid out so that what they share stands once.

Sorted by their tokens, rows that begin alike are neighbours, and a row adds to the batch only what
it does not have in common with the row before it. What stands end to end is then a tree in
depth-first order: whatever continues a segment stands in one stretch behind it. A row that is the
beginning of another adds nothing.

Shape letters: T tokens of a batch, P trained positions, L tokens of a row, S segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from tunesmith.types import Batch, Example

LEAST = 16
"""Fewest tokens that a segment which is shared holds: the rows of a step agree in a few tokens by
chance, and each branching is a call of the attention kernel."""


class Chain(NamedTuple):
    """A row that no other begins with, and the rows that are its beginnings."""

    row: int
    beginnings: tuple[int, ...]
    """Rows that this one begins with, equal ones included, shortest first."""
    length: int
    shared: int
    """How many first tokens are those of the chain before; 0 or at least `LEAST`."""


class Part(NamedTuple):
    """Neighbouring chains that stand in one batch together."""

    chains: tuple[Chain, ...]

    @property
    def rows(self) -> list[int]:
        """Every row, in the order of the batch."""
        return [row for chain in self.chains for row in (*chain.beginnings, chain.row)]

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return sum(chain.length - chain.shared for chain in self.chains)


def parts(examples: Sequence[Example], rows: Sequence[int], *, max_tokens: int) -> list[Part]:
    """The rows of a step in groups that begin alike, each of at most `max_tokens` tokens.

    A group that holds more is cut, and what it shares is computed again in each piece. A row that
    shares nothing is a group of its own. Groups stand in the order of their first rows.

    Args:
        examples: all examples of the run.
        rows: which of them, in the order of the step.
        max_tokens: the most tokens of a batch; a longer row stands alone.
    """
    place = {row: number for number, row in reversed(list(enumerate(rows)))}
    found = [Part(tuple(group)) for group in _cut(_chains(examples, rows), max_tokens)]
    return sorted(found, key=lambda part: min(place[row] for row in part.rows))


def _chains(examples: Sequence[Example], rows: Sequence[int]) -> list[Chain]:
    """Rows sorted by their tokens; see `Chain`."""
    # Big-endian bytes of numbers that are not negative compare as the numbers do.
    keys = {row: examples[row].ids.astype(">i4").tobytes() for row in rows}
    ordered = sorted(rows, key=lambda row: keys[row])
    ends, waiting = [], []
    for row, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following is not None and keys[following].startswith(keys[row]):
            waiting.append(row)
            continue
        ends.append((row, tuple(waiting)))
        waiting = []
    ids = [examples[row].ids for row, _ in ends]
    common = [_common(a, b) for a, b in pairwise(ids)]
    shared = _branchings(np.array([0, *common]))
    return [
        Chain(row, beginnings, len(tokens), int(together))
        for (row, beginnings), tokens, together in zip(ends, ids, shared, strict=True)
    ]


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many first tokens two rows have in common; neither is the beginning of the other."""
    short = min(len(a), len(b))
    return int((a[:short] != b[:short]).argmax())


def _branchings(common: np.ndarray) -> np.ndarray:
    """Where each row leaves the row before it: no two branchings less than `LEAST` tokens apart.

    Args:
        common: first tokens in common with the row before; 0 for the first row.
    """
    found = common.copy()
    open_: list[tuple[int, int, int]] = [(0, len(found), 0)]
    while open_:  # rows `low` to `high` agree in `depth` tokens, and a segment ends there
        low, high, depth = open_.pop()
        inner = found[low + 1 : high]
        inner[inner < depth + LEAST] = depth
        starts = [low, *(np.flatnonzero(inner == depth) + low + 1).tolist(), high]
        for start, end in pairwise(starts):
            if end - start > 1:
                open_.append((start, end, int(found[start + 1 : end].min())))
    return found


def _cut(chains: Sequence[Chain], max_tokens: int) -> Iterator[list[Chain]]:
    group: list[Chain] = []
    held = 0
    for chain in chains:
        own = chain.length - chain.shared
        if group and (chain.shared == 0 or held + own > max_tokens):
            yield group
            group, held = [], 0
        if not group:
            chain, own = chain._replace(shared=0), chain.length
        group.append(chain)
        held += own
    if group:
        yield group


class _Piece(NamedTuple):
    """A stretch of the row that is being laid out: its tokens from `start` stand at `offset`."""

    start: int
    end: int
    offset: int


def join(examples: Sequence[Example], together: Sequence[Part]) -> Batch:
    """Some parts as one batch, what is shared standing once.

    A trained token counts once for each row that has it. Trained positions stand row by row, in
    the order of `rows`.
    """
    path: list[_Piece] = []
    closed: list[tuple[int, int]] = []  # (offset, until) of every segment
    ids, positions, asked = [], [], []
    total = real = 0
    for chain in (chain for part in together for chain in part.chains):
        path = _leave(path, chain.shared, total, closed)
        own = np.arange(chain.shared, chain.length, dtype=np.int64)
        path.append(_Piece(chain.shared, chain.length, total))
        ids.append(examples[chain.row].ids[chain.shared :])
        positions.append(own)
        total += len(own)
        for row in (*chain.beginnings, chain.row):
            real += len(examples[row].ids)
            asked.append(_asked(examples[row], path))
    _leave(path, 0, total, closed)
    closed.sort()
    places, labels = zip(*asked, strict=True)
    return Batch(
        ids_T=torch.from_numpy(np.concatenate(ids).astype(np.int64)),
        positions_T=torch.from_numpy(np.concatenate(positions)),
        offsets=(*(offset for offset, _ in closed), total),
        predict_P=torch.from_numpy(np.concatenate(places)),
        labels_P=torch.from_numpy(np.concatenate(labels)),
        rows=tuple(row for part in together for row in part.rows),
        num_trained=tuple(len(part) for part in labels),
        until=tuple(until for _, until in closed),
        saved=real - total,
    )


def _leave(
    path: list[_Piece], depth: int, total: int, closed: list[tuple[int, int]]
) -> list[_Piece]:
    """The path cut back to `depth` tokens; nothing from `total` on sees what is cut off."""
    kept = []
    for piece in path:
        if piece.end > depth:
            start = max(piece.start, depth)
            closed.append((piece.offset + start - piece.start, total))
        if piece.start < depth:
            kept.append(piece._replace(end=min(piece.end, depth)))
    return kept


def _asked(example: Example, path: Sequence[_Piece]) -> tuple[np.ndarray, np.ndarray]:
    """(where each trained token of a row is predicted, its id), both (P,) int64.

    The first token of a row is never predicted: nothing stands before it.
    """
    learned = np.flatnonzero(example.trained[1:])
    starts = np.array([piece.start for piece in path])
    moved = np.array([piece.offset - piece.start for piece in path])
    inside = np.searchsorted(starts, learned, side="right") - 1
    return learned + moved[inside], example.ids[learned + 1].astype(np.int64)
