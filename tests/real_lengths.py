"""Lengths of real conversations, kept as counts in `golden/lengths.tsv`."""

from collections import defaultdict
from pathlib import Path

import numpy as np

_FILE = Path(__file__).parent / "golden" / "lengths.tsv"


def _counts():
    found = defaultdict(list)
    for line in _FILE.read_text(encoding="utf8").splitlines():
        if not line.startswith("#"):
            name, tokens, rows = line.split("\t")
            found[name].append((int(tokens), int(rows)))
            found["all"].append((int(tokens), int(rows)))
    return found


_COUNTS = _counts()
REAL = sorted(_COUNTS)
"""Names of the data sets; `all` is their mixture."""


def rows_like(name, count, seed=0):
    """Tokens of so many rows drawn from those of a data set, (count,) int64."""
    tokens, rows = np.array(_COUNTS[name]).T
    return np.random.default_rng(seed).choice(np.repeat(tokens, rows), count)
