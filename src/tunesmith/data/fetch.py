"""Datasets that are not here: from a hub, a script or a store, to files on this disk.

Whatever the source, rows are read from files by the readers of this room. The libraries of the
hubs say which files a subset and a split are and bring them; they do not touch the rows, so
that no row gets keys that others have.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data.entry import Entry
from tunesmith.errors import DataError


class Access(NamedTuple):
    """What may be used to get a dataset."""

    code: bool = False
    """`trust_remote_code`: run the Python of a `script_url`."""
    hf_token: str | None = None
    ms_token: str | None = None
    cache_dir: Path | None = None
    """Where downloads are kept; `None`: where each library keeps them."""


NO_ACCESS = Access()


def fetch(entry: Entry, access: Access) -> Entry:
    """The entry with its files on this disk.

    Raises:
        DataError: they cannot be had: no library (with the command that installs it), no
            permission, no such dataset, subset, split or file, no answer.
    """
    if entry.paths:
        return entry
    ways: dict[str, Callable[[Entry, Access], tuple[Path, ...]]] = {
        "hf_hub_url": _from_huggingface,
        "ms_hub_url": _from_modelscope,
        "om_hub_url": _from_openmind,
        "script_url": _from_script,
        "cloud_file_name": _from_cloud,
    }
    return entry._replace(paths=ways[entry.source](entry, access))


def library(name: str, extra: str, entry: Entry) -> Any:
    """A library that is not always there.

    Raises:
        DataError: it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            entry.place,
            got=f"{entry.source}: {entry.value}, and the library {error.name or name} is missing",
            need=f"the library {name.partition('.')[0]}",
            hint=f"pip install 'tunesmith[{extra}]'; or download it and name the file: file_name",
        ) from None


def _from_huggingface(entry: Entry, access: Access) -> tuple[Path, ...]:
    from tunesmith.data import hubs

    return hubs.huggingface(entry, access, library("datasets", "datasets", entry))


def _from_modelscope(entry: Entry, access: Access) -> tuple[Path, ...]:
    from tunesmith.data import hubs

    modelscope = library("modelscope.hub.snapshot_download", "modelscope", entry)
    return hubs.modelscope(entry, access, modelscope, library("datasets", "modelscope", entry))


def _from_openmind(entry: Entry, access: Access) -> tuple[Path, ...]:
    del access
    raise DataError(
        entry.place,
        got=f"om_hub_url: {entry.value}, a hub that is not asked",
        need="hf_hub_url or ms_hub_url, which most of its datasets have too, or a file",
        hint="download it with openmind_hub.snapshot_download and name the folder: file_name",
    )


def _from_script(entry: Entry, access: Access) -> tuple[Path, ...]:
    from tunesmith.data import script

    return (script.rows_of(entry, allowed=access.code),)


def _from_cloud(entry: Entry, access: Access) -> tuple[Path, ...]:
    from tunesmith.data import cloud

    return cloud.download(entry, access.cache_dir, library("fsspec", "cloud", entry))
