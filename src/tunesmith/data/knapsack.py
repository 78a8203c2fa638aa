"""Bins that are full to the last token, as far as the lengths allow it.

Best fit leaves in every bin less room than the shortest item has, and no more than that can be said
of it: conversations of two hundred tokens and more leave a percent of all bins empty. Here a bin
takes an item only if the room that is left then is a sum of lengths that there are.

Shape letters: K different lengths.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

_MOST_WORK = 1 << 30
"""Different lengths times capacity, from where it would take longer than packs are worth."""
_LOOKED_AT = 256
"""So many lengths, spread evenly, are compared at first."""
_STALE = 1 << 22
"""The same product, per length that may have run out before the sums are found anew."""


class Filler:
    """Takes items from a stock until it is empty, one kind of bin after the other.

    Of each kind there are as many bins as the stock allows, so a million items of a few hundred
    lengths are a few hundred kinds.

    Args:
        sizes: the different lengths, ascending, (K,).
        counts: how many items have each, (K,).
        capacity: tokens of a bin; no item is longer.

    Attributes:
        count: bins so far.
        bins, taken: for each length the bins that take items of it, and how many.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], capacity: int) -> None:
        self._sizes, self._capacity = list(sizes), capacity
        self._counts = dict(zip(sizes, counts, strict=True))
        self._left = dict(self._counts)
        self.count = 0
        self.bins = {size: array("q") for size in sizes}
        self.taken = {size: array("q") for size in sizes}
        self._sums, self._made_of = 0, 0

    def run(self) -> None:
        """Place all items."""
        while self._sizes:
            run_out = self._made_of - len(self._sizes)
            if run_out > self._made_of * self._capacity // _STALE or not self._made_of:
                self._sums, self._made_of = sums(self._sizes, self._capacity), len(self._sizes)
            self._place(self._kind())

    def _kind(self) -> dict[int, int]:
        """What the next bin holds, length -> items: the longest that is left, and what fills it."""
        size = self._sizes[-1]
        kind, room = {size: 1}, self._capacity - size
        while room >= self._sizes[0]:
            size = self._next(room, kind)
            if not size:
                break
            kind[size] = kind.get(size, 0) + 1
            room -= size
        return kind

    def _next(self, room: int, kind: dict[int, int]) -> int:
        """Of the lengths after which the room can be filled, the one of which most is left.

        So all lengths run out at about the same time, and the last bins still have a choice.
        Where none is like that it is the longest that fits; 0 if none does.
        """
        full = (self._sums & ((1 << (room + 1)) - 1)).bit_length() - 1
        fitting = bisect_right(self._sizes, room)
        for step in dict.fromkeys((1 + fitting // _LOOKED_AT, 1)):
            found, best = 0, 0.0
            for size in self._sizes[fitting - 1 :: -step]:
                left = self._left[size] - kind.get(size, 0)
                more = left > best * self._counts[size]
                if more and size <= full and self._sums >> (full - size) & 1:
                    found, best = size, left / self._counts[size]
            if found:
                return found
        there = (s for s in reversed(self._sizes[:fitting]) if self._left[s] > kind.get(s, 0))
        return next(there, 0)

    def _place(self, kind: dict[int, int]) -> None:
        times = min(self._left[size] // each for size, each in kind.items())
        for size, each in kind.items():
            self.bins[size].extend(range(self.count, self.count + times))
            self.taken[size].extend([each] * times)
            self._left[size] -= times * each
            if not self._left[size]:
                del self._sizes[bisect_left(self._sizes, size)]
        self.count += times


def worthwhile(num_sizes: int, capacity: int) -> bool:
    """Whether filling takes seconds, not minutes."""
    return num_sizes * capacity <= _MOST_WORK


def sums(sizes: Sequence[int], capacity: int) -> int:
    """Which rooms can be filled with any number of items of these lengths, as bits 0 … capacity."""
    mask, found = (1 << (capacity + 1)) - 1, 1
    for size in sizes:
        step = size
        while step <= capacity:  # one more, two more, four more …
            found |= (found << step) & mask
            step *= 2
    return found
