"""What a vision tower makes of pictures, on disk: made once, read by any number of runs.

A directory for each tower (`key`), and in it shards that are published whole and never changed:

    features.bin  the tensors of all pictures, end to end
    index.bin     one record for each picture: its digest, where its tensors are, their checksum
                  and their shapes

Names and dtypes of the tensors are facts of the shard's manifest. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import tunesmith
from tunesmith import store
from tunesmith.errors import OutputError, StoreError

Entry = dict[str, Tensor]
"""Everything that is kept of one picture, by name; each picture has the same names."""

SHARD_PICTURES, SHARD_BYTES = 1024, 1 << 30
"""What a shard holds at most: so much is made anew after a crash."""
_DIMS, _LIBRARIES = 6, ("torch", "transformers", "pillow", "numpy", "torchvision")
_FORGOTTEN_SECONDS = 30 * 24 * 3600


def key(said: Mapping[str, Any]) -> str:
    """The name of a directory of features: a hash of what they depend on, libraries included.

    Args:
        said: weights, settings, processor, precision.
    """
    text = json.dumps([_code(), dict(said)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 of tensors with their names, dtypes and shapes."""
    whole = hashlib.sha256()
    for name, tensor in tensors:
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(_bytes(tensor))
    return whole.hexdigest()


class _Place(NamedTuple):
    shard: int
    row: int


class _Shard(NamedTuple):
    path: Path
    records: np.ndarray
    tensors: list[tuple[str, torch.dtype]]


class Features:
    """The features of one tower.

    Args:
        directory: named by `key`; need not be there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._places: dict[bytes, _Place] = {}
        self._shards: list[_Shard] = []

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, picture: bytes) -> bool:
        return picture in self._places

    def load(self, *, discard: bool = False) -> int:
        """Find what is on disk by now; shards that do not verify count as not there.

        Args:
            discard: remove those; only for the one process that holds the directory.

        Returns:
            How many shards did not verify.
        """
        self._places, self._shards, broken = {}, [], 0
        for path in _shards_of(self.directory):
            facts = store.kept.facts(path)
            shard = None if facts is None else _opened(path, facts)
            if shard is None:
                broken += 1
                if discard:
                    store.remove(path)
                continue
            number = len(self._shards)
            self._shards.append(shard)
            for row, picture in enumerate(shard.records["picture"]):
                self._places[picture.tobytes()] = _Place(number, row)
        return broken

    @contextmanager
    def making(self) -> Iterator[None]:
        """Be the only process that adds to it; others wait, and find what has been made here.

        Raises:
            StoreError: the directory cannot be written.
        """
        store.make_directory(self.directory)
        with store.kept.held(self.directory):
            store.clean(self.directory)
            self.load(discard=True)
            yield

    def add(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Put pictures on disk, shard by shard; only within `making`.

        Raises:
            Error: whatever the iterable raises; shards that were full before are kept.
            StoreError: the disk is full or fails.
        """
        entries = iter(entries)
        while (first := next(entries, None)) is not None:
            number = 1 + max((int(p.name) for p in _shards_of(self.directory)), default=-1)
            path, facts = self.directory / f"{number:06}", {}
            with store.publish(path, facts=facts) as temporary:
                facts["tensors"] = _write(temporary, first, entries)
            with suppress(StoreError):  # costs another look, no more
                store.kept.remember(path)
        self.load()

    def read(self, picture: bytes) -> Entry | None:
        """What is kept of a picture; `None`: what stands there is damaged.

        A damaged shard loses its name: whoever comes next makes its pictures anew.

        Args:
            picture: its digest, which is there.
        """
        number, row = self._places[picture]
        shard = self._shards[number]
        record = shard.records[row]
        at, length = int(record["at"]), int(record["bytes"])
        raw = _read(shard.path, at, length)
        if len(raw) != length or zlib.crc32(raw) != int(record["crc"]):
            with suppress(StoreError):
                store.remove(shard.path)
            return None
        found, start = {}, 0
        for (name, dtype), dims in zip(shard.tensors, record["shapes"].tolist(), strict=True):
            shape = [size for size in dims if size >= 0]
            end = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            found[name] = torch.empty(shape, dtype=dtype)
            if end > start:
                part = torch.from_numpy(np.frombuffer(raw[start:end], np.uint8).copy())
                found[name] = part.view(dtype).view(shape)
            start = end
        return found


def forget_unused(root: Path, *, now: float) -> None:
    """Remove the features of towers that no run has used for a month.

    Args:
        root: has a directory for each tower.
        now: seconds since the epoch.
    """
    for directory in root.glob("*"):
        with suppress(OSError, StoreError, OutputError):
            if directory.is_dir() and now - directory.stat().st_mtime > _FORGOTTEN_SECONDS:
                with store.lock(directory):
                    store.remove(directory)


def _write(
    directory: Path, first: tuple[bytes, Entry], rest: Iterator[tuple[bytes, Entry]]
) -> list[list[str]]:
    """Fill a shard; names and dtypes of its tensors."""
    named = {name: tensor.dtype for name, tensor in first[1].items()}
    records, end = [], 0
    with (directory / "features.bin").open("wb") as file:
        item: tuple[bytes, Entry] | None = first
        while item is not None:
            picture, entry = item
            assert {n: t.dtype for n, t in entry.items()} == named, "a tower makes the same of all"
            raw = b"".join(_bytes(tensor) for tensor in entry.values())
            shapes = [[*t.shape, *[-1] * (_DIMS - t.dim())] for t in entry.values()]
            records.append((picture, end, len(raw), zlib.crc32(raw), shapes))
            file.write(raw)
            end += len(raw)
            full = len(records) >= SHARD_PICTURES or end >= SHARD_BYTES
            item = None if full else next(rest, None)
    np.array(records, _record(len(named))).tofile(directory / "index.bin")
    return [[name, str(dtype).removeprefix("torch.")] for name, dtype in named.items()]


def _opened(path: Path, facts: Mapping[str, Any]) -> _Shard | None:
    """A shard that has been verified; `None`: it has gone meanwhile."""
    tensors = [(str(name), getattr(torch, dtype)) for name, dtype in facts["tensors"]]
    with suppress(OSError, ValueError):
        index = np.fromfile(path / "index.bin", _record(len(tensors)))
        return _Shard(path, index, tensors)
    return None


def _read(path: Path, at: int, length: int) -> bytes:
    """Not mapped: a file that is cut short meanwhile would end the process."""
    try:
        with (path / "features.bin").open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, at)
    except OSError:
        return b""


def _record(tensors: int) -> np.dtype:
    return np.dtype(
        [
            ("picture", "V32"),
            ("at", "<i8"),
            ("bytes", "<i8"),
            ("crc", "<u4"),
            ("shapes", "<i4", (tensors, _DIMS)),  # -1: no such dimension
        ]
    )


def _shards_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*") if path.name.isdigit())


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


@cache
def _code() -> str:
    """Hash of the code between a file and a tower's output, and of the libraries that it uses."""
    whole = hashlib.sha256()
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            whole.update(f"{name} {version(name)} ".encode())
    root = Path(tunesmith.__file__).parent
    for room in ("compute", "data/media"):
        for path in sorted((root / room).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()
