"""What conversations have in common that a template lays out alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple


class Shape(NamedTuple):
    """Conversations with equal keys have the same spans but for their words."""

    key: Hashable
    words: list[str]
    """What stands in the spans that the template does not write, in order."""


_KEPT = 4096  # shapes


class Remembered:
    """What was found out about the answers of a shape."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[bool, ...]] = {}

    def of(self, shape: Shape | None, work: Callable[[], list[bool]]) -> tuple[bool, ...]:
        """What `work` has given for the shape; `None`: it is asked each time."""
        known = None if shape is None else self._known.get(shape.key)
        if known is None:
            known = tuple(work())
            if shape is not None and len(self._known) < _KEPT:
                self._known[shape.key] = known
        return known
