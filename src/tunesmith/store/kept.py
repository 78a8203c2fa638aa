"""Directories that this program keeps: one writer at a time, hashed once, not at every start.

Models that were converted or downloaded, and token stores.
A published directory carries a manifest with the sha256 of every file. After it has been verified
in full, what its files look like (size, time, inode) is noted in the cache; as long as they look
so, they are not read again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tunesmith.errors import OutputError, StoreError
from tunesmith.store.directories import read_manifest, verify
from tunesmith.store.files import make_directory, write_json
from tunesmith.store.lock import lock
from tunesmith.store.space import cache_root

_POLL_SECONDS = 0.2


def facts(directory: Path, *, again: bool = False) -> Mapping[str, Any] | None:
    """What was said when a directory was published; `None` where it is not whole.

    Every file is read and hashed, unless all look as they did when that was last done.

    Args:
        directory: a published one, or nothing at all.
        again: hash every file whatever it looks like.
    """
    with suppress(StoreError, OSError):
        if not again and _look(directory) == _noted(directory):
            return read_manifest(directory).facts
        found = verify(directory).facts
        with suppress(StoreError):  # a cache that cannot be written costs another look, no more
            remember(directory)
        return found
    return None


def remember(directory: Path) -> None:
    """Note what a directory looks like that has just been verified or published."""
    make_directory(_note(directory).parent)
    write_json(_note(directory), _look(directory))


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Be the only process that makes a directory; waits for another one to end its work."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock(directory))
                break
            except OutputError:
                time.sleep(_POLL_SECONDS)
        yield


def _look(directory: Path) -> dict[str, list[int]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        stat = path.stat()
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            found[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    return found


def _noted(directory: Path) -> object:
    with suppress(OSError, ValueError):
        return json.loads(_note(directory).read_bytes())
    return None


def _note(directory: Path) -> Path:
    key = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:24]
    return cache_root() / "verified" / f"{key}.json"
