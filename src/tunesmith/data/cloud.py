"""Data files of a store (`cloud_file_name: s3://…`), copied to the cache through `fsspec`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunesmith.data.entry import Entry
from tunesmith.errors import DataError
from tunesmith.store.space import cache_root

_PROTOCOLS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Schemes of stores, and the library that `fsspec` reads each with."""


def download(entry: Entry, cache_dir: Path | None, fsspec: Any) -> tuple[Path, ...]:
    """Copies of the file, or of all files of the folder, by name.

    Args:
        entry: with `cloud_file_name`, a URL.
        cache_dir: where downloads are kept; `None`: the cache of everything here.
        fsspec: the library.

    Raises:
        DataError: no URL, a store that needs a library, no such file, no permission.
    """
    url = urlsplit(entry.value)
    if not url.scheme:
        need = "a URL such as s3://bucket/rows.jsonl"
        raise DataError(entry.place, got=f"cloud_file_name: {entry.value}", need=need)
    root = (cache_dir or cache_root()) / "cloud"
    try:
        files, name = fsspec.core.url_to_fs(entry.value)
        kept = [name] if files.isfile(name) else sorted(files.find(name))
        paths = [_copy(files, file, root) for file in kept]
    except (ImportError, ValueError) as error:
        wanted = _PROTOCOLS.get(url.scheme, "its fsspec implementation")
        raise DataError(
            entry.place,
            got=f"cloud_file_name: {entry.value}: {error}",
            need=f"a library that reads {url.scheme}://",
            hint=f"pip install {wanted}; or download it and name the file: file_name",
        ) from None
    except Exception as error:  # each store raises its own
        raise DataError(
            entry.place,
            got=f"cloud_file_name: {entry.value}: {type(error).__name__}: {error}",
            need="a file or folder that the store gives you",
        ) from None
    if not paths:
        need = "a file or folder that the store gives you"
        raise DataError(entry.place, got=f"cloud_file_name: {entry.value}: no files", need=need)
    return tuple(paths)


def _copy(files: Any, name: str, root: Path) -> Path:
    """A copy that carries what it was copied from in its name: a changed file is a new one."""
    state = hashlib.sha256(f"{files.protocol} {files.ukey(name)} {name}".encode()).hexdigest()
    path = root / state[:16] / os.path.basename(name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        files.get_file(name, str(part))
        os.replace(part, path)
    return path
