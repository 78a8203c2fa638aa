"""Rehearsals and trials depend on what they are asked and on the code: done once, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tunesmith
from tunesmith import store
from tunesmith.errors import StoreError

_ROOMS = ("compute", "models", "stages", "training")
"""Whose code they run."""
_known: dict[str, Any] = {}


def remembered(key: str, make: Callable[[], Any]) -> Any:
    """What `make` gives: lists and numbers; made anew where the code or a library is another.

    Args:
        key: everything that the result depends on, beside the code.
        make: what is to be done once. What it raises is not kept.
    """
    name = hashlib.sha256(f"{_code()} {key}".encode()).hexdigest()[:32]
    path = store.cache_root() / "rehearsals" / f"{name}.json"
    if name not in _known:
        with suppress(OSError, ValueError):
            _known[name] = json.loads(path.read_bytes())
    if name not in _known:
        _known[name] = make()
        with suppress(StoreError):  # a cache that cannot be written costs time, no more
            store.make_directory(path.parent)
            store.write_json(path, _known[name])
    return _known[name]


@cache
def _code() -> str:
    root = Path(tunesmith.__file__).parent
    whole = hashlib.sha256(" ".join(version(name) for name in ("torch", "transformers")).encode())
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()
