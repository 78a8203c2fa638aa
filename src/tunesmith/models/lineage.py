"""What an adapter was trained over, kept in its own file and held against what it is put on.

PEFT's config names the base model, but a name does not tell a base from its chat version, nor
an adapter that was trained on top of another one. An adapter on other weights of the same
shapes loads without a word and answers nonsense, so whoever loads one asks here first.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tunesmith.models import files
from tunesmith.models.adapter_spec import CONFIG, WEIGHTS

_BASE, _BELOW, _BITS = "tunesmith_base", "tunesmith_below", "tunesmith_quantization"
_SAMPLED = 64
"""Values of each matrix that are looked at: tuning changes all of them."""


def lineage(base: Path, below: Sequence[Path], *, quantization: str = "") -> dict[str, str]:
    """What an adapter's file remembers, as safetensors metadata.

    Args:
        base: directory of the base model, with its weights.
        below: adapters that were merged into it first.
        quantization: how the base was held; empty: dense.
    """
    told = {_BASE: weights_hash(base), _BELOW: " ".join(map(_adapter_hash, below))}
    return {**told, _BITS: quantization} if quantization else told


def differences(
    base: Path, base_name: str, adapters: Sequence[Path], *, quantization: str = ""
) -> list[str]:
    """What tells the models that adapters were trained over from the one they are put on.

    Args:
        base: directory of the base model, with its weights.
        base_name: as the run names it.
        adapters: in the order in which they are put on, each over those before it.
        quantization: how the base is held here; empty: dense.

    Returns:
        One line for each adapter that was trained over something else; empty as a rule.
    """
    found = []
    for i, adapter in enumerate(adapters):
        told = _told(adapter / WEIGHTS)
        if _BASE in told and told.get(_BITS, "") != quantization:
            found.append(
                f"adapter {adapter} was trained over {_held(told.get(_BITS, ''))}, "
                f"here it is put on {_held(quantization)}"
            )
        if _BASE not in told:
            named = str(files.read_json(adapter / CONFIG).get("base_model_name_or_path") or "")
            if named and _last(named) != _last(base_name) and _last(named) != base.name:
                found.append(f"adapter {adapter} says that it belongs to {named}, not {base_name}")
        elif told[_BASE] != weights_hash(base):
            found.append(f"adapter {adapter} was trained over other weights than {base_name} has")
        elif told[_BELOW] != " ".join(map(_adapter_hash, adapters[:i])):
            count = len(told[_BELOW].split())
            found.append(
                f"adapter {adapter} was trained over {_adapters(count)}, "
                f"here it is put on {_adapters(i)}{' or others' if count == i else ''}"
            )
    return found


def weights_hash(directory: Path) -> str:
    """Short hash of a model's matrices: the same after re-sharding and in fp32 as in bf16.

    Neither names nor files count, so that a copy saved by another library is the same model;
    tied matrices count once.
    """
    seen = {digest for path in files.weight_files(directory) for digest in _digests(path)}
    return hashlib.sha256(b"".join(sorted(seen))).hexdigest()[:16]


def sort_metadata(path: Path) -> None:
    """The library writes metadata in another order each time; equal adapters are equal files."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "only the order has changed"
        file.seek(8)
        file.write(text.ljust(length))


def _digests(path: Path) -> Iterator[bytes]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            part = file.get_slice(name)
            shape = part.get_shape()
            if len(shape) == 2:
                row = part[shape[0] // 2].flatten()[:_SAMPLED].to(torch.bfloat16)
                values = row.view(torch.int16).numpy().tobytes()
                yield hashlib.sha256(f"{shape}".encode() + values).digest()


def _adapter_hash(directory: Path) -> str:
    """Of the tensors alone: what stands in the header may be told anew."""
    from safetensors.torch import load_file

    whole = hashlib.sha256()
    for name, tensor in sorted(load_file(directory / WEIGHTS).items()):
        whole.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]


def _told(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _held(quantization: str) -> str:
    return f"the base in {quantization}" if quantization else "the base as it is stored"


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _adapters(count: int) -> str:
    return {0: "the bare base", 1: "one adapter"}.get(count, f"{count} adapters")
