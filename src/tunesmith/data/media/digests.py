"""sha256 of picture files; files that look as they did are not read again.

One table for all: what each file looked like (path, size, times, inode), hashed, and the digest of
its bytes. A table that is lost or damaged costs another reading, no more.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tunesmith import store
from tunesmith.data.ledger import RowError
from tunesmith.errors import StoreError

_RECORD = np.dtype([("look", "V32"), ("digest", "V32")])
_MOST = 4_000_000
"""Files of a table; one that would grow beyond is begun anew."""
_SETTLED_NS = 2_000_000_000
"""A file that was written less than this ago may be written again within one time stamp."""


def digests(
    paths: Iterable[str], *, progress: Callable[[int], None] = lambda done: None
) -> dict[str, bytes]:
    """Digest of what each file holds, 32 bytes.

    Args:
        paths: of the files.
        progress: called with how many are done.

    Raises:
        RowError: a file cannot be read.
    """
    table, found, new = _read(), {}, {}
    for number, path in enumerate(paths, start=1):
        try:
            stat = os.stat(path)
            look = _look(path, stat)
            if look not in table:
                table[look] = _digest(path)
                if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
                    new[look] = table[look]
        except OSError as error:
            raise RowError.of(
                "picture that cannot be read", path, got=error.strerror, need="a file"
            ) from None
        found[path] = table[look]
        progress(number)
    if new:
        _keep(new)
    return found


def _look(path: str, stat: os.stat_result) -> bytes:
    facts = (os.path.realpath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return hashlib.sha256(repr(facts).encode()).digest()


def _digest(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read() -> dict[bytes, bytes]:
    with suppress(OSError, ValueError):
        raw = _path().read_bytes()
        if raw[:32] == hashlib.sha256(raw[32:]).digest():
            records = np.frombuffer(raw[32:], _RECORD)
            return {look.tobytes(): digest.tobytes() for look, digest in records}
    return {}


def _keep(new: dict[bytes, bytes]) -> None:
    before = _read()
    table = new if len(before) + len(new) > _MOST else before | new
    raw = np.array(list(table.items()), _RECORD).tobytes()
    with suppress(StoreError):  # a cache that cannot be written costs another look, no more
        store.write_bytes(_path(), hashlib.sha256(raw).digest() + raw)


def _path() -> Path:
    return store.cache_root() / "digests" / "pictures.bin"
