"""Examples of one optimizer step, laid end to end without padding into few micro-batches.

Which examples belong to a step is decided in `order.py`; which share a bin in `packing.py`.
What a pack or a bucket of an epoch holds is a function of (lengths, seed, epoch) alone.
Shape letters: T tokens of a batch, P trained positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tunesmith.data import prefixes
from tunesmith.data.order import permutation
from tunesmith.data.packing import Bins, Lengths, best_fit_decreasing, buckets, pack
from tunesmith.types import Batch, Example


def lay_out(
    examples: Sequence[Example],
    indices: Sequence[int] | np.ndarray,
    *,
    max_tokens: int,
    share: bool = False,
) -> list[Batch]:
    """Lay the examples of one step into few micro-batches of at most `max_tokens` tokens.

    Every example stands in exactly one batch, whole; one that is longer than `max_tokens`
    has a batch of its own. Documents keep the order of `indices`, but for those that share
    their beginnings with others.

    Args:
        examples: all examples of the run.
        indices: which of them, in the order of the step.
        max_tokens: the most tokens of a batch, at least 1.
        share: whether beginnings that several examples have in common stand once; see
            `prefixes`.
    """
    chosen = [int(i) for i in indices]
    if share:
        parts = prefixes.parts(examples, chosen, max_tokens=max_tokens)
        bins = best_fit_decreasing([part.tokens for part in parts], capacity=max_tokens)
        return [_together(examples, [parts[i] for i in items.tolist()]) for items in bins]
    lengths = [len(examples[i].ids) for i in chosen]
    bins = best_fit_decreasing(lengths, capacity=max_tokens)
    return [join(examples, [chosen[i] for i in items.tolist()]) for items in bins]


def _together(examples: Sequence[Example], parts: Sequence[prefixes.Part]) -> Batch:
    rows = [row for part in parts for row in part.rows]
    alone = len(rows) == len(parts)
    return join(examples, rows) if alone else prefixes.join(examples, parts)


def join(examples: Sequence[Example], rows: Sequence[int]) -> Batch:
    """Some examples as one batch, end to end, in the order given.

    The first token of a document is never predicted: nothing of its own stands before it,
    and the last token of its neighbour must not be asked for it.
    """
    assert rows, "a batch holds at least one document"
    parts = [examples[row] for row in rows]
    lengths = [len(part.ids) for part in parts]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    ids_T = np.concatenate([part.ids for part in parts]).astype(np.int64)
    positions_T = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    learned_T = np.concatenate([part.trained for part in parts]).astype(bool)
    learned_T[offsets[:-1]] = False
    labelled_P = np.flatnonzero(learned_T)
    return Batch(
        ids_T=torch.from_numpy(ids_T),
        positions_T=torch.from_numpy(positions_T),
        offsets=tuple(int(offset) for offset in offsets),
        predict_P=torch.from_numpy(labelled_P - 1),
        labels_P=torch.from_numpy(ids_T[labelled_P]),
        rows=tuple(int(row) for row in rows),
        num_trained=tuple(np.add.reduceat(learned_T, offsets[:-1], dtype=np.int64).tolist()),
        media=tuple(part.media for part in parts) if any(part.media for part in parts) else (),
    )


def packs(
    lengths: Lengths, *, cutoff_len: int, seed: int, epoch: int = 0, bucketed: bool = False
) -> Bins:
    """Packs of whole documents for `packing: true`: the unit of a step is then a pack.

    Packed over the whole epoch (see `packing.pack`), or in buckets of like length for models
    that cannot read several documents as one text. Another (seed, epoch) mixes documents of
    equal length otherwise; how many packs there are, and of which lengths, is the same in every
    epoch.

    Args:
        lengths: tokens of every example of the run.
        cutoff_len: tokens of a pack, in a bucket with its padding; no example is longer.
        seed: the run's seed.
        epoch: from 0.
        bucketed: documents of a pack have like lengths; see `packing.buckets`.

    Returns:
        Rows of each pack; every row in exactly one.
    """
    order = permutation(len(lengths), seed=seed, epoch=f"packs of epoch {epoch}")
    mixed = np.asarray(lengths)[order]
    layout = buckets if bucketed else pack
    return layout(mixed, capacity=cutoff_len).named(order)
