"""The data files of a folder.

All files of the folder itself that have a data type, types mixed or not, in natural order
(`part-2` before `part-10`). Hidden files are ignored. Anything else is named in a note, unless
rows may be in it: then it is refused, and so is a folder within that has data files. What
`datasets` writes beside its shards is known.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from tunesmith.data.sources.source import READABLE, Source, by_name
from tunesmith.errors import DataError

_OF_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_MAY_HOLD_ROWS = re.compile(
    r"\.(?:bz2|xz|lz4|lzma|zip|tar|tgz|7z|rar|xlsx?|ods|feather|orc|avro|pkl|pickle|ndjson|json5"
    r"|jsonl?c?|csv|tsv|txt|parquet|arrow|part|tmp|incomplete)(?:\.[a-z0-9]+)?$"
)
_SHOWN = 3


class Folder(NamedTuple):
    """What is in a folder."""

    sources: list[Source]
    aside: list[str]
    """Names of what is not read."""


def look(folder: Path) -> Folder:
    """The data files of a folder, not opened.

    Raises:
        DataError: it cannot be listed, has no data files, or has rows in something that is not
            read.
    """
    try:
        names = sorted(os.listdir(folder), key=natural)
    except OSError as error:
        raise DataError(str(folder), got=error.strerror, need="a folder to read") from None
    sources, aside = [], []
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        source = by_name(path)
        if os.path.isdir(path):
            _refuse_rows_within(path)
            aside.append(f"{name}/")
        elif source and name not in _OF_DATASETS:
            sources.append(source)
        elif name not in _OF_DATASETS and _MAY_HOLD_ROWS.search(name.lower()):
            raise DataError(
                str(path),
                got="a file that may hold rows, of a type that is not read",
                need=f"data files only: {READABLE}",
                hint="convert it, or move it out of the folder",
            )
        elif name not in _OF_DATASETS:
            aside.append(name)
    if not sources:
        found = f"; it has {_listed(aside)}" if aside else ""
        got = f"a folder without data files{found}"
        raise DataError(str(folder), got=got, need=f"files of type {READABLE}")
    return Folder(sources, aside)


def note(folder: Path, aside: list[str]) -> str | None:
    """What a user should know of what was left aside."""
    return f"{folder}: left aside: {_listed(aside)}" if aside else None


def _refuse_rows_within(folder: Path) -> None:
    """A folder in a data folder may hold pictures, but not rows that would be lost."""
    for parent, folders, names in os.walk(folder):  # links to folders are not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        data = (name for name in names if not name.startswith(".") and by_name(Path(name)))
        found = next(data, None)
        if found is not None:
            raise DataError(
                str(folder),
                got=f"a folder within the folder, with data files ({Path(parent, found)})",
                need="files in one folder: rows of a folder within it are not read",
                hint=f"an entry of its own for {folder}, or the files one folder up",
            )


def natural(name: str) -> tuple[list[str | int], str]:
    """By which names are put in order: `part-2` before `part-10`."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
