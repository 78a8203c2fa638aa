"""Bytes of a data file, a chunk at a time, unpacked where it is packed.

A packed file that is damaged or cut off is refused with the offset of the first byte (of the
packed file) that cannot be.
"""

from __future__ import annotations

import hashlib
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from io import SEEK_SET
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tunesmith.data.sources.source import Packing
from tunesmith.errors import DataError

CHUNK = 1 << 16
_PIECE = 1 << 11  # of a packed file: what one piece unpacks to is held in memory
_POINTER = b"version https://git-lfs"
_NEED = "a file that can be read"


def open_binary(path: Path) -> BinaryIO:
    """Open a file of the user; a pipe or a device is not waited for.

    Raises:
        DataError: missing, a directory, a pipe, a device, a loop of links, without permission,
            or a git-lfs pointer.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode):  # nobody may ever write to it
            raise DataError(str(path), got="a pipe", need=_NEED)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # /dev/zero never ends
            raise DataError(str(path), got="a device or a socket", need=_NEED)
        file = path.open("rb")
    except OSError as error:
        raise DataError(str(path), got=error.strerror, need=_NEED) from None
    except ValueError as error:  # a NUL in the name
        raise DataError(str(path), got=str(error), need=_NEED) from None
    try:
        began = file.read(len(_POINTER))
    except OSError as error:  # a disk that fails
        file.close()
        raise DataError(str(path), got=error.strerror, need=_NEED) from None
    if began == _POINTER:
        file.close()
        raise DataError(
            str(path),
            got="a git-lfs pointer: the data itself was never downloaded",
            need="the file that the pointer stands for",
            hint=f"git lfs pull --include {path.name}",
        )
    file.seek(0, SEEK_SET)
    return file


def chunks(path: Path, packing: Packing | None = None) -> Iterator[bytes]:
    """All bytes of a file, unpacked, in pieces that are never empty.

    Raises:
        DataError: as `open_binary`; or damaged, cut off, followed by something else, or of a
            packing for which no library is installed.
    """
    with open_binary(path) as file:
        if packing is None:
            yield from _pieces(file, path, CHUNK)
        else:
            yield from _Unpacking(path, packing).chunks(file)


def unpacked(path: Path, packing: Packing | None) -> BinaryIO:
    """A file to seek in: the file itself, or a copy without name that is gone when closed.

    Raises:
        DataError: as `chunks`; or there is no room for the copy.
    """
    if packing is None:
        return open_binary(path)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks(path, packing):
            copy.write(chunk)
        copy.flush()
    except OSError as error:
        with suppress(OSError):  # it would write the rest once more
            copy.close()
        got = f"{error.strerror} in {tempfile.gettempdir()}"
        raise DataError(str(path), got=got, need="room there to unpack the file") from None
    except DataError:
        copy.close()
        raise
    copy.seek(0)
    return copy  # pyright: ignore[reportReturnType] - typeshed's wrapper is a BinaryIO


def file_digest(path: Path) -> bytes:
    """sha256 of the bytes of a file as it stands on disk, packed where it is packed.

    Raises:
        DataError: as `open_binary`.
    """
    with open_binary(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").digest()  # pyright: ignore[reportArgumentType]
        except OSError as error:
            raise DataError(str(path), got=error.strerror, need=_NEED) from None


def _pieces(file: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(size)
        except OSError as error:
            raise DataError(str(path), got=error.strerror, need=_NEED) from None
        if not piece:
            return
        yield piece


class _Library(NamedTuple):
    """What unpacks one member of a packed file: `decompress`, `eof`, `unused_data`."""

    fresh: Callable[[], Any]
    error: type[Exception]


class _Unpacking:
    """Members of a packed file, one after another."""

    def __init__(self, path: Path, packing: Packing) -> None:
        self.path, self.packing = path, packing
        self.library = _library(packing, path)

    def chunks(self, file: BinaryIO) -> Iterator[bytes]:
        member, began, at = None, 0, 0
        for piece in _pieces(file, self.path, _PIECE):
            while piece:
                if member is None:
                    if at and self.packing == "gzip" and not piece.strip(b"\0"):
                        at += len(piece)  # tapes and disk images fill up with zeros
                        break
                    member, began = self.library.fresh(), at
                try:
                    chunk = member.decompress(piece)
                except self.library.error as error:
                    raise self._damaged(error, began, at) from None
                rest = member.unused_data if member.eof else b""
                at += len(piece) - len(rest)
                piece, member = rest, None if member.eof else member
                if chunk:
                    yield chunk
        if member is not None:
            raise DataError(
                f"{self.path}: byte {at}",
                got="the end of the file: it is cut off",
                need=f"a whole {self.packing} file",
            )

    def _damaged(self, error: Exception, began: int, piece: int) -> DataError:
        """The same member once more, its last piece a byte at a time."""
        member, at = self.library.fresh(), began
        with open_binary(self.path) as file:
            file.seek(began)
            try:
                while at < piece:
                    read = file.read(min(_PIECE, piece - at))
                    member.decompress(read)
                    at += len(read)
                while read := file.read(1):
                    member.decompress(read)
                    at += 1
            except self.library.error:
                pass
        need, hint = f"a sound {self.packing} file; this one is damaged, or is none", ""
        if "too much memory" in str(error):  # by `zstd --long`
            need = "a file packed with a window of at most 128 MiB"
            hint = f"zstd -d --long=31 {self.path}"
        return DataError(f"{self.path}: byte {at}", got=str(error), need=need, hint=hint)


def _library(packing: Packing, path: Path) -> _Library:
    if packing == "gzip":
        return _Library(lambda: zlib.decompressobj(wbits=31), zlib.error)
    try:
        zstd = import_module("zstandard")
        return _Library(lambda: zstd.ZstdDecompressor().decompressobj(), zstd.ZstdError)
    except ImportError:
        pass
    try:
        zstd = import_module("compression.zstd")  # Python 3.14
        return _Library(lambda: zstd.ZstdDecompressor(), zstd.ZstdError)
    except ImportError:
        raise DataError(
            str(path),
            got="a file packed by zstandard, which this Python does not unpack",
            need="the zstandard library",
            hint="pip install 'tunesmith[zstandard]'",
        ) from None
