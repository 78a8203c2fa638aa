"""Which documents share a bin: best-fit decreasing, fuller packs, and buckets of like length.

All are pure functions of the lengths, fast enough for whole epochs: items of one length are
placed together, and a million of them take about a second. Free of torch. Legend: a bin is a
micro-batch or a pack; its capacity is counted in tokens. N items, B bins.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from tunesmith.data import knapsack

Lengths = Sequence[int] | np.ndarray
_EMPTY = 0.001
"""Share of the bins that best fit may need more than there are tokens for."""


class Bins(Sequence[np.ndarray]):
    """Items in bins, as two flat arrays.

    Args:
        items: of all bins, one bin after the other, (N,) int64.
        ends: how many items stand in the bins up to and including each, (B,) int64.
    """

    def __init__(self, items: np.ndarray, ends: np.ndarray) -> None:
        self.items, self.ends = items, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        """Items of one bin, from 0."""
        if not 0 <= number < len(self.ends):
            raise IndexError(number)
        return self.items[self.ends[number - 1] if number else 0 : self.ends[number]]

    def tokens(self, lengths: Lengths) -> np.ndarray:
        """Tokens in each bin, (B,) int64."""
        upto = np.concatenate([[0], np.cumsum(np.asarray(lengths)[self.items])])[self.ends]
        return np.diff(upto, prepend=0)

    def longest(self, lengths: Lengths) -> np.ndarray:
        """Tokens of the longest item of each bin, (B,) int64."""
        if not len(self.ends):
            return self.ends
        starts = np.concatenate([[0], self.ends[:-1]])
        return np.maximum.reduceat(np.asarray(lengths)[self.items], starts)

    def named(self, names: np.ndarray) -> Bins:
        """The same bins of items that are called otherwise, (N,) int64."""
        return Bins(names[self.items], self.ends)


def best_fit_decreasing(lengths: Lengths, *, capacity: int) -> Bins:
    """Put every item into a bin, each into the fullest one that still has room for it.

    Longest items first, equal ones in the order given; an item longer than the capacity gets
    a bin of its own. Needs at most 11/9 of the best possible number of bins, plus 6/9
    (Dosa 2007). The number of bins depends on the set of lengths only, not on their order.

    Args:
        lengths: tokens of each item, at least 1.
        capacity: tokens of a bin, at least 1.

    Returns:
        Bins in the order of their first items; items of a bin ascending. Every index of
        `lengths` stands in exactly one bin.
    """
    assert capacity >= 1, "a bin holds at least one token"
    order, sizes, counts = _longest_first(lengths)
    shelves = _shelved(sizes, counts, capacity)
    return _in_order(order, shelves.bins, shelves.taken, shelves.count)


def pack(lengths: Lengths, *, capacity: int) -> Bins:
    """Put every item into a bin, in as few bins as two ways find: best fit, and exact filling.

    As `best_fit_decreasing`, with its bound; filling (see `knapsack`) is tried where best fit
    leaves more than one token in a thousand empty.
    """
    assert capacity >= 1, "a bin holds at least one token"
    order, sizes, counts = _longest_first(lengths)
    shelves = _shelved(sizes, counts, capacity)
    total = sum(size * count for size, count in zip(sizes, counts, strict=True))
    fewest = -(-total // capacity)
    if (
        shelves.count - fewest > _EMPTY * fewest
        and sizes[0] <= capacity
        and knapsack.worthwhile(len(sizes), capacity)
    ):
        filler = knapsack.Filler(sizes[::-1], counts[::-1], capacity)
        filler.run()
        if filler.count < shelves.count:
            bins, taken = array("q"), array("q")
            for size in sizes:
                bins.extend(filler.bins[size])
                taken.extend(filler.taken[size])
            return _in_order(order, bins, taken, filler.count)
    return _in_order(order, shelves.bins, shelves.taken, shelves.count)


def buckets(lengths: Lengths, *, capacity: int) -> Bins:
    """Put every item into a bin with others of like length, so that little is padded.

    A bin counts as many tokens as its items would have if each were as long as the longest;
    that is at most the capacity, unless one item alone is longer. Along the items from the
    longest to the shortest, equal ones in the order given, every bin takes as many as it may:
    no other way needs fewer bins, because a bin with the longest item takes at most that many.

    Args:
        lengths: tokens of each item, at least 1.
        capacity: tokens of a bin, padding included, at least 1.

    Returns:
        Bins from the longest items to the shortest. Every index of `lengths` stands in exactly
        one bin.
    """
    assert capacity >= 1, "a bin holds at least one token"
    order, *_ = _longest_first(lengths)
    falling = np.asarray(lengths)[order]
    ends, end = array("q"), 0
    while end < len(order):
        end = min(len(order), end + max(1, capacity // int(falling[end])))
        ends.append(end)
    return Bins(order, np.array(ends, np.int64))


def balance(lengths: Sequence[int], *, shares: int) -> list[list[int]]:
    """Split items into shares of nearly equal tokens: longest first, to the lightest share.

    The heaviest share has at most 4/3 of the best possible (Graham 1969). Ties go to the
    share with fewer items, then to the first.

    Args:
        lengths: tokens of each item.
        shares: number of shares; some stay empty when there are fewer items.

    Returns:
        `shares` lists of indices, ascending; every index in exactly one.
    """
    found: list[list[int]] = [[] for _ in range(shares)]
    tokens = [0] * shares
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        lightest = min(range(shares), key=lambda s: (tokens[s], len(found[s]), s))
        found[lightest].append(item)
        tokens[lightest] += lengths[item]
    return [sorted(items) for items in found]


class _Shelves:
    """Bins by the room that is left in them, for items that come in falling length.

    An item goes into the bin with the least room that is enough; the next of its length fits
    there again or into no bin of less room. So a bin takes all that it holds at once, and what
    happens is a list of (bin, number of items).
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._with_room: dict[int, array[int]] = {}  # tokens left -> bins, oldest first
        self._rooms: list[int] = []  # the keys, ascending
        self.bins, self.taken = array("q"), array("q")
        self.count = 0

    def place(self, size: int, count: int) -> None:
        """Place `count` items of `size` tokens, no longer than those before."""
        while count:
            at = bisect_left(self._rooms, size)
            room = self._rooms[at] if at < len(self._rooms) else self._capacity
            each = max(1, room // size)
            wanted = -(-count // each)
            if at < len(self._rooms):
                chosen = self._newest(at, wanted)
            else:
                chosen = array("q", range(self.count, self.count + wanted))
                self.count += wanted
            last = min(count - each * (len(chosen) - 1), each)
            self.bins.extend(chosen)
            self.taken.extend(array("q", [each]) * (len(chosen) - 1))
            self.taken.append(last)
            self._put(room - each * size, chosen[:-1])
            self._put(room - last * size, chosen[-1:])
            count -= each * (len(chosen) - 1) + last

    def _newest(self, at: int, most: int) -> array[int]:
        """Take bins of one room away, the youngest first."""
        room = self._rooms[at]
        bins = self._with_room[room]
        chosen = bins[-most:]
        chosen.reverse()
        del bins[-most:]
        if not bins:
            del self._with_room[room], self._rooms[at]
        return chosen

    def _put(self, room: int, bins: array[int]) -> None:
        if room <= 0 or not bins:
            return
        if room not in self._with_room:
            self._with_room[room] = array("q")
            insort(self._rooms, room)
        self._with_room[room].extend(bins)


def _shelved(sizes: Sequence[int], counts: Sequence[int], capacity: int) -> _Shelves:
    shelves = _Shelves(capacity)
    for size, count in zip(sizes, counts, strict=True):
        shelves.place(size, count)
    return shelves


def _longest_first(lengths: Lengths) -> tuple[np.ndarray, list[int], list[int]]:
    """Indices by falling length, equal ones in order; the different lengths, how often each."""
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    sizes = sizes[order]
    begins = np.flatnonzero(np.diff(sizes, prepend=0))  # of the items of one length
    return order, sizes[begins].tolist(), np.diff(begins, append=len(sizes)).tolist()


def _in_order(order: np.ndarray, bins: array[int], taken: array[int], count: int) -> Bins:
    """Bins sorted by their first item.

    Args:
        order: the items as they were placed, (N,) int64.
        bins: which bin took some of them, one after the other.
        taken: how many each time.
        count: of bins.
    """
    placed = np.empty(len(order), np.int64)
    placed[order] = np.repeat(np.frombuffer(bins, np.int64), np.frombuffer(taken, np.int64))
    first = np.empty(count, np.int64)
    first[placed[::-1]] = np.arange(len(placed))[::-1]  # of several the first is written last
    place = np.empty(count, np.int64)
    place[np.argsort(first)] = np.arange(count)
    placed = place[placed]
    ends = np.cumsum(np.bincount(placed, minlength=count))
    return Bins(np.argsort(placed, kind="stable"), ends)
