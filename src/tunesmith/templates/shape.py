"""What conversations have in common that a template lays out alike."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Shape(NamedTuple):
    """Conversations with equal keys have the same spans but for their words."""

    key: Hashable
    words: list[str]
    """What stands in the spans that the template does not write, in order."""
