"""Random examples that begin alike: a tree of texts grown from a seed."""

import numpy as np

from tunesmith.types import Example, Origin


def alike(seed, *, count=12, share=0.5, longest=60, vocab=500):
    """Rows of which most continue a part of an earlier one; some are a part of it, or equal.

    Args:
        seed: of everything.
        count: rows.
        share: chance that a token is trained, those in shared parts too.
        longest: tokens of the first row; others may become longer.
        vocab: ids are below it.
    """
    draw = np.random.default_rng(seed)
    rows = [draw.integers(5, vocab, longest)]
    for _ in range(count - 1):
        base = rows[draw.integers(len(rows))]
        kept = base[: draw.integers(1, len(base) + 1)]
        fresh = draw.integers(5, vocab, draw.integers(1, 30))
        kind = draw.random()
        rows.append(fresh if kind < 0.15 else kept if kind < 0.4 else np.concatenate((kept, fresh)))
    return [
        Example(
            ids.astype(np.int32), draw.random(len(ids)) < share, Origin("alike", "alike", row, row)
        )
        for row, ids in enumerate(rows, 1)
    ]


def rows_of(*texts, trained=True):
    """Examples of these ids, every token but the first of them trained."""
    return [
        Example(
            np.array(ids, np.int32), np.full(len(ids), trained), Origin("rows", "rows", row, row)
        )
        for row, ids in enumerate(texts, 1)
    ]
