"""What a model or an adapter on disk is, in few characters, without reading all of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tunesmith.models import files

_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


def fingerprint(directory: Path) -> str:
    """Short hash of a model or adapter directory: config, headers and samples of its weights.

    Whole files of many gigabytes would take longer to hash than planning may; 64 samples of
    64 KiB of each file notice another model, not a flipped bit.
    """
    whole = hashlib.sha256()
    names = ("config.json", "adapter_config.json", "tokenizer.json")
    paths = [directory / name for name in names if (directory / name).is_file()]
    for path in paths:
        whole.update(path.read_bytes())
    adapter = directory / "adapter_model.safetensors"
    for path in [adapter] if adapter.is_file() else _weights(directory):
        size = path.stat().st_size
        whole.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(i * max(size - _SAMPLE_BYTES, 0) // (_SAMPLES - 1))
                whole.update(file.read(_SAMPLE_BYTES))
    return whole.hexdigest()[:16]


def _weights(directory: Path) -> list[Path]:
    """Weight files, none where only a plan is made before they are downloaded."""
    there = any((directory / name).is_file() for name in (files.SINGLE, files.INDEX))
    return files.weight_files(directory) if there else []
