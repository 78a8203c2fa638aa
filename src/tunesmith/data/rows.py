"""From a path to rows: the files that it stands for, and the rows of each, streamed.

Files are read again and again from their beginning, never held: memory does not grow with the
number of rows. How each type is read is in `sources/`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tunesmith.data.ledger import Skip
from tunesmith.data.sources import columnar, delimited, folder, json_rows, plain
from tunesmith.data.sources.raw import chunks, file_digest
from tunesmith.data.sources.source import READABLE, Row, Source, by_name, empty
from tunesmith.errors import DataError

__all__ = ["Row", "Source", "count", "file_digest", "files", "open_sources", "rows"]


def files(path: Path) -> list[Path]:
    """The files that a path stands for, not opened: itself, or those of the folder, in order.

    Raises:
        DataError: a folder without data files, or with rows in something that is not read.
    """
    return [source.path for source in folder.look(path).sources] if os.path.isdir(path) else [path]


def open_sources(path: Path) -> list[Source]:
    """The data files that a path stands for: itself, or those of the folder, in natural order.

    Each is opened once, to see that it can be read and which layout it has.

    Raises:
        DataError: a file that cannot be read, is empty, of a type or encoding that is not read,
            or not what its name says; a folder without data files, or with rows in something
            that is not read (see `sources/folder.py`).
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            ascii(str(path)), got="a name that is not UTF-8", need="one that is"
        ) from None
    if not os.path.isdir(path):
        return [_opened(path, by_name(path))]
    found = folder.look(path)
    first, *others = (_opened(source.path, source) for source in found.sources)
    notes = [note for note in (folder.note(path, found.aside), first.note) if note]
    return [first._replace(note="; ".join(notes) or None), *others]


def rows(
    source: Source,
    dataset: str,
    *,
    columns: Collection[str] | None = None,
    media: Collection[str] = (),
    only: Sequence[int] | None = None,
) -> Iterator[Row | Skip]:
    """Rows of a file in order; a row that is refused comes as a `Skip`.

    Args:
        source: the file.
        dataset: its name in the registry.
        columns: those that are read; in parquet and arrow files, what has no place in JSON (dates,
            bytes, NaN) is refused in these only. `None`: in all.
        media: columns in which bytes are a picture, a video or a sound.
        only: numbers of rows, from 1, ascending: others are passed over, unread where the file
            allows it. `None`: all rows.

    Raises:
        DataError: a file in which the next row cannot be found.
    """
    match source.layout:
        case "array":
            if only is not None:
                return json_rows.some(source, dataset, only)
            return json_rows.array(source, dataset)
        case "lines":
            return json_rows.by_line(source, dataset, only)
        case "text":
            return plain.rows(source, dataset, only)
        case "csv" | "tsv":
            return delimited.rows(source, dataset, only)
        case "parquet" | "arrow":
            return columnar.rows(source, dataset, columns, media=media, only=only)


def count(source: Source) -> int:
    """Rows of a file, bad ones too, without reading what they say: as many as `rows` would give.

    Raises:
        DataError: as `rows`.
    """
    match source.layout:
        case "array" | "lines":
            return json_rows.count(source)
        case "text":
            return plain.count(source)
        case "csv" | "tsv":
            return delimited.count(source)
        case "parquet" | "arrow":
            return columnar.count(source)


def _opened(path: Path, source: Source | None) -> Source:
    if source is None:
        next(chunks(path), None)  # what cannot be opened is told as such
        raise DataError(
            str(path),
            got=f"a file of type {path.suffix or 'unknown'}",
            need=f"one of {READABLE}",
        )
    if source.layout in ("array", "lines"):
        return json_rows.looked_at(source)
    if next(chunks(path, source.packing), None) is None:
        raise empty(str(path))
    return source
