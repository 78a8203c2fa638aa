"""The next step's batches are made while the present step computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, each made one earlier than it is asked for.

    What making an item raises is raised where it is asked for. The maker runs in one other
    thread: it may not change what the user of the items reads.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="tunesmith-feed") as maker:
        coming = maker.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = maker.submit(next, source, end)
            yield item  # pyright: ignore[reportReturnType]
