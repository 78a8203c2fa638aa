"""Media of prepared examples as bytes of a store, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from tunesmith.types import Media

_LOOKED_AT = 1 << 16
"""Bytes of a file that its identity is made of, beside its size."""


def to_bytes(medium: Media) -> bytes:
    """One line that says what it is, and whatever bytes it has."""
    several = isinstance(medium.source, tuple)
    parts = medium.source if isinstance(medium.source, tuple) else (medium.source,)
    said = [part if isinstance(part, str) else len(part) for part in parts]
    head = json.dumps({"kind": medium.kind, "several": several, "parts": said})
    return head.encode() + b"\n" + b"".join(part for part in parts if isinstance(part, bytes))


def from_bytes(stored: bytes) -> Media:
    """What `to_bytes` was given."""
    head, _, rest = stored.partition(b"\n")
    said = json.loads(head)
    parts: list[str | bytes] = []
    for part in said["parts"]:
        if isinstance(part, int):
            parts.append(rest[:part])
            rest = rest[part:]
        else:
            parts.append(part)
    return Media(said["kind"], tuple(parts) if said["several"] else parts[0])


def look(stored: Iterable[bytes]) -> str:
    """Hash of size and time of every file that stored media name; empty where they name none.

    A picture that is exchanged may fill other places than those it was counted for.
    """
    whole, seen = hashlib.sha256(), set[str]()
    for each in stored:
        medium = from_bytes(each)
        parts = medium.source if isinstance(medium.source, tuple) else (medium.source,)
        for path in (part for part in parts if isinstance(part, str) and part not in seen):
            seen.add(path)
            try:
                found = os.stat(path)
            except OSError:
                whole.update(f"{path}\0none\0".encode())
                continue
            whole.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return whole.hexdigest() if seen else ""


def identity(medium: Media) -> bytes:
    """sha256 of its kind and of what its files hold: of their sizes and first 64 KiB."""
    whole = hashlib.sha256(medium.kind.encode())
    parts = medium.source if isinstance(medium.source, tuple) else (medium.source,)
    for part in parts:
        size = len(part) if isinstance(part, bytes) else os.path.getsize(part)
        whole.update(size.to_bytes(8, "little"))
        if isinstance(part, bytes):
            whole.update(part[:_LOOKED_AT])
        else:
            with Path(part).open("rb") as file:
                whole.update(file.read(_LOOKED_AT))
    return whole.digest()
