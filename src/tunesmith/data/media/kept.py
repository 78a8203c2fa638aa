"""Media of prepared examples as bytes of a store, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import json
import os
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
