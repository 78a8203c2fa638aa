"""Packs of a million rows with the lengths of real data: share that is empty, CPU seconds.

    python benchmarks/packing.py [--rows 1000000] [--capacity 2048 4096]

Lengths are those of `tests/golden/lengths.tsv`, drawn with a fixed seed and cut at the capacity.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from real_lengths import REAL, rows_like
from tunesmith.data.packing import best_fit_decreasing, buckets, pack


def main() -> None:
    """Print a line for each data set and capacity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--capacity", type=int, nargs="*", default=[2048, 4096])
    asked = parser.parse_args()
    ways = (best_fit_decreasing, pack, buckets)
    print(f"{'data set':<26}{'capacity':>9}", *(f"{way.__name__:>30}" for way in ways))
    for name in REAL:
        for capacity in asked.capacity:
            lengths = np.minimum(rows_like(name, asked.rows), capacity)
            told = []
            for way in ways:
                began = time.process_time()
                bins = way(lengths, capacity=capacity)
                seconds = time.process_time() - began
                positions = capacity * len(bins)
                if way is buckets:  # what stays free of the capacity is nowhere laid out
                    positions = (np.diff(bins.ends, prepend=0) * bins.longest(lengths)).sum()
                empty = 1 - lengths.sum() / positions
                told.append(f"{100 * empty:9.3f} % empty {seconds:6.2f} CPU-s")
            print(f"{name:<26}{capacity:>9}", *(f"{one:>30}" for one in told), flush=True)


if __name__ == "__main__":
    main()
