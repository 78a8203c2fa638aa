"""What an adapter was trained over, kept in its own file and held against what it is put on.

PEFT's config names the base model, but a name does not tell a base from its chat version, nor
an adapter that was trained on top of another one. An adapter on other weights of the same
shapes loads without a word and answers nonsense, so whoever loads one asks here first.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from tunesmith.errors import ModelError
from tunesmith.models import files
from tunesmith.models.adapter_files import PREFIX
from tunesmith.models.adapter_spec import CONFIG, WEIGHTS

_BASE, _BELOW, _BITS = "tunesmith_base", "tunesmith_below", "tunesmith_quantization"
_LAYER = re.compile(r"(.*\blayers\.)\d+\.")
_SIDES = {"A.weight": 1, "B.weight": 0}
"""Which side of LoRA's two matrices is that of the layer: (R, in) and (out, R)."""
_DENSE = ("F64", "F32", "BF16", "F16")
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


def belongs(
    base: Path,
    base_name: str,
    adapters: Sequence[Path],
    *,
    quantization: str = "",
    mismatch: Literal["refuse", "report"] = "refuse",
) -> list[str]:
    """Hold adapters against the model that they are put on, before anything is loaded.

    Args:
        base: directory of the base model, with its weights.
        base_name: as the run names it.
        adapters: in the order in which they are put on, each over those before it.
        quantization: how the base is held here; empty: dense.
        mismatch: what becomes of one that was trained over other weights of the same shapes.

    Returns:
        One line for each adapter of which there is something to tell; empty as a rule.

    Raises:
        ModelError: an adapter of other shapes, or one over other weights that is to be refused.
    """
    found = []
    for i, adapter in enumerate(adapters):
        named = str(files.read_json(adapter / CONFIG).get("base_model_name_or_path") or "")
        told = _told(adapter / WEIGHTS)
        _refuse_shapes(base, base_name, adapter)
        other, added = _other(base, base_name, adapter, told=told, below=adapters[:i])
        if other and not added and mismatch == "refuse":
            raise ModelError(
                f"adapter {adapter}",
                got=f"an adapter {other}",
                need=f"what it was trained over{f' ({named})' if named else ''}: on other weights "
                "it answers nonsense",
                hint="model_name_or_path and adapter_name_or_path of its training; "
                "adapter_mismatch=report if these weights are meant",
            )
        if other:
            found.append(f"adapter {adapter} was {other}")
        if _BASE in told and told.get(_BITS, "") != quantization:
            found.append(
                f"adapter {adapter} was trained over {_held(told.get(_BITS, ''))}, "
                f"here it is put on {_held(quantization)}"
            )
        elif _BASE not in told and named and _last(named) not in (_last(base_name), base.name):
            found.append(f"adapter {adapter} says that it belongs to {named}, not {base_name}")
    return found


def _other(
    base: Path, base_name: str, adapter: Path, *, told: dict[str, str], below: Sequence[Path]
) -> tuple[str, bool]:
    """What tells the model that an adapter was trained over from the one it is put on.

    The second says that it can be meant: adapters of one bare base, one on top of the other.
    """
    if _BASE not in told:
        return "", True
    if told[_BASE] != weights_hash(base):
        return f"trained over other weights than {base_name} has", False
    if told[_BELOW] == " ".join(map(_adapter_hash, below)):
        return "", True
    count = len(told[_BELOW].split())
    here = f"{_adapters(len(below))}{' or others' if count == len(below) else ''}"
    return f"trained over {_adapters(count)}, here it is put on {here}", not told[_BELOW]


def _refuse_shapes(base: Path, base_name: str, adapter: Path) -> None:
    """By headers alone, where the base's files name the layer as the adapter does."""
    every = [files.read_header(path) for path in files.weight_files(base)]
    stored = {name: info for header in every for name, info in header.items()}
    counts = {found[1] for name in stored if (found := _LAYER.match(name))}
    for name, info in files.read_header(adapter / WEIGHTS).items():
        layer, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
        numbered = _LAYER.match(f"{layer}.")
        own = stored.get(f"{layer}.weight")
        if own is None:
            if numbered and numbered[1] in counts and not _has(stored, numbered[0]):
                raise _misfit(base_name, adapter, got=f"one for {layer}, which is not there")
            continue
        side = _SIDES.get(part)
        if side is None or own.dtype not in _DENSE or len(own.shape) != 2 or len(info.shape) != 2:
            continue
        if info.shape[side] not in (own.shape[1 - side], own.shape[side]):
            rows, columns = own.shape
            raise _misfit(
                base_name,
                adapter,
                got=f"one for {layer} with {info.shape[side]} {('outputs', 'inputs')[side]}, "
                f"which has {rows} x {columns} weights here",
            )


def _has(stored: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in stored)


def _misfit(base_name: str, adapter: Path, *, got: str) -> ModelError:
    return ModelError(
        f"adapter {adapter}",
        got=got,
        need=f"an adapter of the shapes of {base_name}",
        hint="model_name_or_path of its training",
    )


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

    files.read_header(path)  # in words where it is damaged
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _held(quantization: str) -> str:
    return f"the base in {quantization}" if quantization else "the base as it is stored"


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _adapters(count: int) -> str:
    return {0: "the bare base", 1: "one adapter"}.get(count, f"{count} adapters")
