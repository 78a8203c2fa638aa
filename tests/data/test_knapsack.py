"""A bin is full to the last token wherever its items allow it."""

import random
from itertools import product

import pytest

from tunesmith.data.knapsack import Filler, sums, worthwhile


def filled(counts, capacity):
    filler = Filler(sorted(counts), [counts[size] for size in sorted(counts)], capacity)
    filler.run()
    return filler


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_those_that_so_many_items_have(seed):
    draw = random.Random(seed)
    sizes = draw.sample(range(1, 15), draw.randint(1, 3))
    capacity = 30
    ways = product(range(capacity + 1), repeat=len(sizes))
    reached = {sum(n * s for n, s in zip(way, sizes, strict=True)) for way in ways}
    found = sums(sizes, capacity)
    assert {n for n in range(capacity + 2) if found >> n & 1} == {n for n in reached if n <= 30}


@pytest.mark.parametrize("seed", range(30))
def test_every_item_is_placed_once_and_no_bin_is_over_full(seed):
    draw = random.Random(seed)
    counts = {size: draw.randint(1, 30) for size in draw.sample(range(1, 41), 12)}
    filler = filled(counts, 40)
    tokens = [0] * filler.count
    for size in counts:
        assert sum(filler.taken[size]) == counts[size]
        for number, each in zip(filler.bins[size], filler.taken[size], strict=True):
            tokens[number] += size * each
    assert max(tokens) <= 40
    assert min(tokens) > 0


def test_what_best_fit_leaves_open_is_filled():
    """6 + 4 and 5 + 5, where best fit begins with 6 + 5 of 11 and cannot go on."""
    assert filled({6: 10, 4: 10, 5: 20}, 10).count == 20
    assert filled({7: 10, 6: 10, 3: 20, 2: 10}, 15).count == 14


def test_filling_is_given_up_where_it_would_take_minutes():
    assert worthwhile(4000, 32_768)
    assert not worthwhile(100_000, 131_072)
