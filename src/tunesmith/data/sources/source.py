"""What is read from where: the nouns of the readers, and which file names they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunesmith.errors import DataError
from tunesmith.types import Origin

Layout = Literal["array", "lines", "csv", "tsv", "text", "parquet", "arrow"]
Packing = Literal["gzip", "zstandard"]

LAYOUTS: dict[str, Layout] = {  # of `.json` and `.jsonl` the content decides
    ".json": "array",
    ".jsonl": "lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
PACKINGS: dict[str, Packing] = {".gz": "gzip", ".zst": "zstandard"}
READABLE = f"{', '.join(LAYOUTS)}, each also with {' or '.join(PACKINGS)}"


class Row(NamedTuple):
    """One object of a file, as it stands there."""

    values: dict[str, Any]
    origin: Origin
    text: str | None = None
    """Its own JSON text, of a file that is JSON."""


class Source(NamedTuple):
    """A data file that can be opened and of which the layout is known; its rows are not read."""

    path: Path
    layout: Layout
    packing: Packing | None = None
    note: str | None = None
    """What the user should know about the layout, or about what was left aside."""

    @property
    def file(self) -> str:
        """Its name in errors and in the ledger."""
        return str(self.path)


def empty(file: str, need: str = "at least one row") -> DataError:
    """What is said of a file with nothing in it."""
    hint = "write it again, or leave it out; what was to fill it has perhaps failed"
    return DataError(file, got="an empty file", need=need, hint=hint)


def by_name(path: Path) -> Source | None:
    """What a file says it is by the end of its name, in any case; `None`: nothing that is read."""
    name = path.name.lower()
    for packed in ("", *PACKINGS):
        for end, layout in LAYOUTS.items():
            if name.endswith(end + packed):
                return Source(path, layout, PACKINGS.get(packed))
    return None


def picked(numbers: Iterable[int] | None) -> Callable[[int], bool]:
    """Whether a row is among some; to be asked of every row once, in their order.

    Args:
        numbers: of rows, from 1, ascending; `None`: all are.
    """
    if numbers is None:
        return lambda number: True
    coming = iter(numbers)
    following = next(coming, None)

    def among(number: int) -> bool:
        nonlocal following
        found = number == following
        if found:
            following = next(coming, None)
        return found

    return among
