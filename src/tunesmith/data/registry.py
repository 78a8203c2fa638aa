"""The datasets that a run names: in `dataset_info.json`, inline in the run file, or as a path.

A name of the registry wins over a path that is spelled like it. Relative paths of the registry
begin at its directory; those of the run file, like all its paths, at the current directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.config.kinds import ENTRY_SOURCES
from tunesmith.data import strict_json
from tunesmith.data.entry import (
    Columns,
    Entry,
    Reader,
    Tags,
    at_home,
    kind,
    like,
    nearest,
    why_absent,
)
from tunesmith.data.sources.source import LAYOUTS, PACKINGS
from tunesmith.errors import DataError

__all__ = ["FILE_NAME", "Columns", "Entry", "Tags", "load", "nearest"]

FILE_NAME = "dataset_info.json"
_SUFFIXES = (*LAYOUTS, *PACKINGS)

Item = str | Mapping[str, Any]
"""A name, a path, or an entry that stands inline in the run file."""


def load(dataset_dir: Path, items: Sequence[Item], where: str = "dataset") -> list[Entry]:
    """The entries of a run's datasets; others of the registry are left alone.

    Args:
        dataset_dir: directory with `dataset_info.json`; its `file_name`s are relative to it.
        items: datasets of the run, in order.
        where: the place of the run's list, for errors about what stands in it.

    Raises:
        DataError: registry missing or broken, a name that it does not have (the nearest is
            named), a key, column or tag that does not exist, a source, layout or column that
            this version does not read, a file that is not there, a dataset asked for twice.
    """
    file = Path(dataset_dir) / FILE_NAME
    absent = why_absent(file)
    there = absent is None
    registry, text = strict_json.load(file) if there and _named(items) else ({}, "")
    if not isinstance(registry, dict):
        raise DataError(f"{file}:1", got=kind(registry), need="an object: name -> entry")
    found: list[Entry] = []
    for number, item in enumerate(items):
        at = f"{where}[{number}]" if len(items) > 1 else where
        if isinstance(item, Mapping):
            entry = _inline(dict(item), at)
        elif item not in registry and _is_path(item):
            entry = _plain(item, at)
        elif there:
            entry = _registered(file, text, item, registry)
        else:
            raise _no_registry(file, item, absent)
        if any(entry._replace(place="") == other._replace(place="") for other in found):
            raise DataError(f"{at}: {entry.name}", got="asked for twice", need="each dataset once")
        found.append(_named_apart(entry, found))
    return found


def local_path(item: Item) -> str | None:
    """The path that an item of the run names itself; `None`: it names something else."""
    if isinstance(item, str):
        return item if _is_path(item) else None
    key = next((key for key in ENTRY_SOURCES if item.get(key)), None)
    path = item.get(key) if key in ("file_name", "script_url") else None
    return path if isinstance(path, str) else None


def _named(items: Sequence[Item]) -> bool:
    return any(isinstance(item, str) for item in items)


def _is_path(name: str) -> bool:
    """Whether a name is spelled as a path: with a slash, a dot or ~ first, or a data suffix."""
    return (
        "/" in name
        or os.sep in name
        or name.startswith((".", "~"))
        or Path(name).suffix.lower() in _SUFFIXES
    )


def _registered(file: Path, text: str, name: str, registry: dict[str, Any]) -> Entry:
    if name not in registry:
        hint = nearest(name, registry)
        hint = f"dataset: {hint}" if hint else ""
        if not hint and os.path.exists(name):
            hint = f"./{name} is read as a path"
        raise DataError(
            f"{file}: {name}",
            got="no such dataset in the registry",
            need=f"one of {', '.join(list(registry)[:12])}{' …' if len(registry) > 12 else ''}",
            hint=hint,
        )
    places: dict[tuple[str | int, ...], int] = {}

    def place(*path: str) -> str:
        if not places:
            places.update(strict_json.walk(text, strict_json.space(text, 0))[1])
        line, _ = strict_json.line_and_column(text, places[(name, *path)])
        return f"{file}:{line}: {'.'.join((name, *path))}"

    return Reader(name, file.parent, place).entry(registry[name])


def _inline(found: dict[str, Any], at: str) -> Entry:
    source = next((found[key] for key in ENTRY_SOURCES if found.get(key)), None)
    name = source if isinstance(source, str) else "inline"
    entry = Reader(name, Path(), lambda *path: ".".join((at, *path))).entry(found)
    return entry._replace(base=_folder(entry.paths[0])) if entry.paths else entry


def _plain(name: str, at: str) -> Entry:
    place = f"{at}: {name}"
    path = at_home(Path(name), place)
    absent = why_absent(path)
    if absent == "no such file":
        absent = "no such file or folder, and no such name in the registry"
    if absent:
        near = like(path)
        raise DataError(
            place,
            got=absent,
            need="a file or folder of rows, relative to the current directory",
            hint=f"dataset: {path.with_name(near)}" if near else "",
        )
    base = _folder(path)
    return Entry(name, (path,), None, Columns(), Tags(), place, value=name, base=base, plain=True)


def _folder(path: Path) -> Path:
    """Where what the rows of a path name is looked for: beside them."""
    return path if os.path.isdir(path) else path.parent


def _no_registry(file: Path, name: str, absent: str | None) -> DataError:
    directory = str(file.parent)
    if directory == "ONLINE" or directory.startswith("REMOTE:"):
        hint = f"dataset: {{hf_hub_url: {name}}}, without dataset_dir"
    elif os.path.exists(name):
        hint = f"./{name} is read as a path"
    else:
        hint = f'dataset_dir: DIR with a {FILE_NAME} like {{"mine": {{"file_name": "a.json"}}}}'
    return DataError(
        str(file),
        got=absent,
        need="the registry of datasets: name, file and layout of each",
        hint=hint,
    )


def _named_apart(entry: Entry, others: Sequence[Entry]) -> Entry:
    """Two inline entries may read one file in two ways; their rows are told apart by name."""
    names = {other.name for other in others}
    number, name = 1, entry.name
    while name in names:
        number += 1
        name = f"{entry.name} ({number})"
    return entry._replace(name=name)
