"""One process at a time in a directory.

A record lock (`fcntl.lockf`) and not `flock`: it belongs to the process, so that data workers
that outlive a killed run do not keep its lock, and it holds across hosts on NFS.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunesmith.errors import OutputError
from tunesmith.store.files import explained, make_directory

_held: set[Path] = set()  # a record lock does not exclude the process that has it


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold a directory for this process; released when it ends, however it ends.

    The lock is the file `.NAME.lock` beside the directory, so that the directory itself may
    be missing, moved aside or replaced meanwhile.

    Raises:
        OutputError: another process holds it; its id is named.
        StoreError: the lock file cannot be written, or the file system has no locks.
    """
    directory = Path(os.path.realpath(directory))
    path = directory.with_name(f".{directory.name}.lock")
    make_directory(path.parent)
    if path in _held:
        raise _busy(directory, f"this process, {os.getpid()}")
    with explained(path):
        fd = _acquire(directory, path)
    _held.add(path)
    try:
        with explained(path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        _held.discard(path)
        with suppress(OSError):
            os.unlink(path)  # before the lock is given up: whoever waits opens a new file
        os.close(fd)


def _acquire(directory: Path, path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except OSError as error:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
            os.close(fd)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _busy(directory, f"process {holder or '(starting)'}") from None
            raise
        os.close(fd)  # its last holder has removed it between our two calls


def _busy(directory: Path, holder: str) -> OutputError:
    return OutputError(
        str(directory),
        got=f"in use by {holder}",
        need="one run at a time in a directory",
        hint="wait for it or stop it, or use another directory",
    )
