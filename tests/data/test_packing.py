"""Bins hold every item once, none over its capacity, and few of them are needed."""

import random
from collections import Counter

import numpy as np
import pytest

from real_lengths import REAL, rows_like
from tunesmith.data.packing import balance, best_fit_decreasing, buckets, pack

WAYS = [best_fit_decreasing, pack, buckets]


def listed(bins):
    return [items.tolist() for items in bins]


def drawn(seed, *, longest=40, most=200):
    draw = random.Random(seed)
    return [draw.randint(1, longest) for _ in range(draw.randint(1, most))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(20))
def test_every_item_stands_in_one_bin_and_no_bin_is_over_full(way, seed):
    lengths = drawn(seed)
    bins = way(lengths, capacity=40)
    assert sorted(i for items in bins for i in items) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in items) <= 40 for items in bins)
    assert bins.tokens(lengths).tolist() == [sum(lengths[i] for i in items) for items in bins]
    assert bins.longest(lengths).tolist() == [max(lengths[i] for i in items) for items in bins]
    assert bins.tokens(lengths).sum() == sum(lengths)


@pytest.mark.parametrize("way", [best_fit_decreasing, pack])
@pytest.mark.parametrize("seed", range(20))
def test_at_most_11_9_of_the_best_number_of_bins_and_6_9_are_needed(way, seed):
    lengths = drawn(seed)
    bins = way(lengths, capacity=40)
    assert len(bins) <= 11 / 9 * -(-sum(lengths) // 40) + 6 / 9 + sum(n > 20 for n in lengths)


def one_by_one(lengths, capacity):
    """A best fit that is too simple to be wrong: of the fullest bins the one put there last."""
    bins, free, touched = [], [], []
    for time, item in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        need = lengths[item]
        roomy = [number for number, left in enumerate(free) if left >= need]
        if not roomy:
            bins.append([]), free.append(capacity), touched.append(0)
            roomy = [len(bins) - 1]
        chosen = min(roomy, key=lambda number: (free[number], -touched[number]))
        bins[chosen].append(item)
        free[chosen] -= need
        touched[chosen] = time
    return sorted((sorted(items) for items in bins), key=lambda items: items[0])


@pytest.mark.parametrize("seed", range(60))
def test_each_item_goes_into_the_fullest_bin_that_has_room(seed):
    lengths = drawn(seed, longest=random.Random(seed).choice([4, 12, 50, 60]), most=100)
    assert listed(best_fit_decreasing(lengths, capacity=50)) == one_by_one(lengths, 50)


def test_an_item_over_the_capacity_has_a_bin_of_its_own():
    for way in (best_fit_decreasing, pack):
        assert listed(way([3, 90, 5, 70], capacity=10)) == [[0, 2], [1], [3]]
    assert listed(buckets([3, 90, 5, 70], capacity=10)) == [[1], [3], [2, 0]]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_needs_no_bins(way):
    bins = way([], capacity=10)
    assert (len(bins), list(bins), len(bins.tokens([])), len(bins.longest([]))) == (0, [], 0, 0)


@pytest.mark.parametrize("capacity", [2048, 4096])
@pytest.mark.parametrize("name", REAL)
def test_packs_of_real_lengths_waste_at_most_half_a_percent(name, capacity):
    lengths = np.minimum(rows_like(name, 100_000), capacity)
    bins = pack(lengths, capacity=capacity)
    assert 1 - lengths.sum() / (capacity * len(bins)) <= 0.005
    assert bins.tokens(lengths).max() <= capacity
    assert bins.tokens(lengths).sum() == lengths.sum()
    assert len(bins) <= len(best_fit_decreasing(lengths, capacity=capacity))


@pytest.mark.parametrize("way", WAYS)
def test_which_lengths_share_a_bin_does_not_depend_on_the_order(way):
    lengths = rows_like("all", 3000)
    again = np.random.default_rng(1).permutation(lengths)

    def shapes(lengths):
        bins = way(lengths, capacity=2048)
        return Counter(tuple(sorted(lengths[items].tolist())) for items in bins)

    assert shapes(lengths) == shapes(again)


def fewest_buckets(lengths, capacity):
    """By trying every way to part the items."""
    if not lengths:
        return 0
    first, *others = lengths
    best = len(lengths)
    for chosen in range(1 << len(others)):
        beside = [other for i, other in enumerate(others) if chosen >> i & 1]
        count, longest = 1 + len(beside), max([first, *beside])
        if count == 1 or count * longest <= capacity:
            rest = [other for i, other in enumerate(others) if not chosen >> i & 1]
            best = min(best, 1 + fewest_buckets(rest, capacity))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_no_other_buckets_are_fewer(seed):
    lengths = drawn(seed, longest=12, most=7)
    assert len(buckets(lengths, capacity=20)) == fewest_buckets(lengths, 20)


@pytest.mark.parametrize("seed", range(20))
def test_a_bucket_with_its_padding_stays_below_the_capacity(seed):
    lengths = drawn(seed, longest=60)
    bins = buckets(lengths, capacity=50)
    for items, longest in zip(bins, bins.longest(lengths), strict=True):
        assert len(items) * longest <= 50 or len(items) == 1


def test_buckets_of_real_lengths_pad_little():
    lengths = np.minimum(rows_like("all", 100_000), 4096)
    bins = buckets(lengths, capacity=4096)
    padded = (np.diff(bins.ends, prepend=0) * bins.longest(lengths)).sum()
    assert 1 - lengths.sum() / padded < 0.005


@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_shares_are_disjoint_whole_and_nearly_equal(shares):
    draw = random.Random(shares)
    lengths = [draw.randint(1, 100) for _ in range(64)]
    parts = balance(lengths, shares=shares)
    assert sorted(i for part in parts for i in part) == list(range(64))
    tokens = [sum(lengths[i] for i in part) for part in parts]
    assert max(tokens) - min(tokens) <= 100


def test_fewer_items_than_shares_leave_some_empty():
    assert balance([5, 9], shares=3) == [[1], [0], []]
