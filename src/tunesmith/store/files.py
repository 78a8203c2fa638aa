"""Single files: replaced whole, appended to line by line, cut back; and how failures read.

Hidden names beside the final one hold what is not finished. They carry the process that made
them (`PID-START`, its start in ticks since boot, because process ids are used again), so that
`clean` can tell what a dead process left from what a living one is doing:

    .NAME.tmp-PID-START-N    being written or being removed: never read
    .NAME.was-PID-START-N    a directory that is being replaced by a new one
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from tunesmith.errors import Error, StoreError
from tunesmith.store import disk

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_OF_THE_DISK = {*_FULL, errno.EIO, errno.EROFS, errno.EFBIG}
_numbers = itertools.count()
_in_use: set[Path] = set()


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace a file whole: after a crash it holds the old bytes or the new ones.

    Parents are made where they are missing.

    Raises:
        StoreError: it cannot be written (full disk, read-only, a file in the way).
    """
    path = absolute(path)
    make_directory(path.parent)
    with explained(path, needed=len(data)), working_on(hidden_name(path, "tmp")) as temporary:
        try:
            write_new(temporary, data)
            disk.current.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                disk.current.unlink(temporary)
            raise
        sync_names(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON; floats come back bit for bit.

    Raises:
        StoreError: as `write_bytes`; or the value holds NaN, infinity or no JSON at all.
    """
    write_bytes(path, json_bytes(path, value))


def json_bytes(path: Path, value: Any) -> bytes:
    """The JSON text, in UTF-8, that goes into `path`.

    Raises:
        StoreError: the value holds NaN, infinity or something that JSON has no word for.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode()
    except (TypeError, ValueError) as error:
        need = "finite numbers, text, lists and mappings"
        raise StoreError(str(path), got=str(error), need=need) from error


def append_line(path: Path, text: str, *, sync: bool = False) -> int:
    """Append `text` and a newline; an append that fails half-way is taken back.

    Returns:
        Length of the file afterwards, in bytes.

    Raises:
        StoreError: it cannot be written.
    """
    assert "\n" not in text, "a journal has one record per line"
    path, data = absolute(path), text.encode() + b"\n"
    with explained(path, needed=len(data)):
        new = disk.current.kind(path) is None
        fd = disk.current.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with _closed(fd):
            before = 0 if new else disk.current.size(fd)
            try:
                _write_all(fd, data)
            except OSError:
                with suppress(OSError):
                    disk.current.unlink(path) if new else disk.current.truncate(fd, before)
                raise
            if sync:
                disk.current.fsync(fd)
        if sync:
            sync_names(path.parent)
    return before + len(data)


def cut(path: Path, length: int) -> None:
    """Shorten a file to `length` bytes and sync it; at its own length, only sync it.

    Raises:
        StoreError: it is missing, shorter than that, or cannot be written.
    """
    path = absolute(path)
    with explained(path):
        fd = disk.current.open(path, os.O_WRONLY)
        with _closed(fd):
            found = disk.current.size(fd)
            if found < length:
                raise StoreError(str(path), got=f"{found} bytes", need=f"at least {length} bytes")
            if found > length:
                disk.current.truncate(fd, length)
            disk.current.fsync(fd)
        sync_names(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, durably; one that is there is fine.

    Raises:
        StoreError: it cannot be made, for example because a file is in the way.
    """
    path = absolute(path)
    with explained(path):
        kind = disk.current.kind(path)
    if kind == "directory" or (kind == "link" and os.path.isdir(path)):
        return
    if kind is not None:
        raise StoreError(str(path), got=f"a {kind}", need="a directory, or nothing, of this name")
    make_directory(path.parent)
    with explained(path):
        with suppress(FileExistsError):  # another process was faster
            disk.current.mkdir(path)
        sync_names(path.parent)


def absolute(path: Path) -> Path:
    """Without `..`, links left as they are."""
    return Path(os.path.abspath(path))


def hidden_name(path: Path, kind: Literal["tmp", "was"]) -> Path:
    """A free name beside `path` that carries this process."""
    pid = os.getpid()
    start = disk.current.started(pid) or 0
    while True:
        hidden = path.with_name(f".{path.name}.{kind}-{pid}-{start}-{next(_numbers)}")
        if disk.current.kind(hidden) is None:  # else left by a dead process of the same id
            return hidden


_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<kind>tmp|was)-(?P<pid>\d+)-(?P<start>\d+)-\d+")


def abandoned(path: Path) -> tuple[Path, str] | None:
    """Final name and kind of a hidden name whose process is gone; `None` for all else."""
    match = _HIDDEN.fullmatch(path.name)
    if match is None:
        return None
    pid, start = int(match["pid"]), int(match["start"])
    now = disk.current.started(pid)
    if now is not None and (now == start or 0 in (now, start)) and pid != os.getpid():
        return None
    return None if path in _in_use else (path.with_name(match["name"]), match["kind"])


@contextmanager
def working_on(path: Path) -> Iterator[Path]:
    """Keep this process's own `clean` away from a hidden name."""
    _in_use.add(path)
    try:
        yield path
    finally:
        _in_use.discard(path)


@contextmanager
def explained(path: Path, *, needed: int = 0, only_disk: bool = False) -> Iterator[None]:
    """Turn the operating system's errors into a `StoreError` about `path`.

    Args:
        path: what the user knows it by.
        needed: bytes that were to be written, where known.
        only_disk: leave errors alone that may be about other files than ours.
    """
    try:
        yield
    except Error:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        ours = isinstance(error, OSError) and not only_disk
        if not ours and number not in _OF_THE_DISK:
            raise
        raise _failure(path, number, str(error), needed) from error


def write_new(path: Path, data: bytes | memoryview) -> None:
    """A new file with this content, synced; its name is not."""
    fd = disk.current.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with _closed(fd):
        _write_all(fd, data)
        disk.current.fsync(fd)


def sync_names(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = disk.current.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    with _closed(fd):
        disk.current.fsync(fd)


@contextmanager
def _closed(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell
            disk.current.close(fd)
        raise
    disk.current.close(fd)


def _write_all(fd: int, data: bytes | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        taken = disk.current.write(fd, rest)
        if taken == 0:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[taken:]


def _number_in(text: str) -> int | None:
    """The errno in a message of safetensors, which reports I/O failures as text only."""
    found = re.search(r"\(os error (\d+)\)", text)
    return int(found[1]) if found else None


def _failure(path: Path, number: int | None, text: str, needed: int) -> StoreError:
    got = os.strerror(number) if number else text
    if number in _FULL:
        return _no_space(path, got, needed)
    if number in _READ_ONLY:
        return StoreError(
            str(path), got=got, need="a place that you may write to", hint="another directory"
        )
    if number == errno.ENOENT and not os.path.isdir(path.parent):
        return StoreError(
            str(path),
            got=f"{path.parent} is gone",
            need="the directory that is written to: it was moved or deleted meanwhile",
            hint="put it back, then start the same command again",
        )
    if number == errno.ENAMETOOLONG:
        return StoreError(str(path), got=got, need="a shorter name")
    if number in (errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return StoreError(str(path), got=got, need="no file in the place of a directory")
    if number == errno.EFBIG:
        return StoreError(str(path), got=got, need="a higher limit on file size", hint="ulimit -f")
    return StoreError(str(path), got=got, need="a disk that reads and writes without error")


def _no_space(path: Path, got: str, needed: int) -> StoreError:
    from tunesmith.store.space import free_bytes

    free = "unknown"
    with suppress(OSError):
        free = str(free_bytes(path))
    wanted = f"{needed} bytes needed, " if needed else ""
    return StoreError(
        str(path),
        got=f"{got}: {wanted}{free} bytes free",
        need="room on this disk; what was there before is unharmed",
        hint="free some space, or use another disk, then do the same again",
    )
