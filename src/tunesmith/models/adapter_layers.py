"""The kinds of adapter on one linear layer: which class, how it starts, what a file holds of it.

A file of PiSSA holds [A; -A₀] and [B, B₀]: an adapter of twice the rank that PEFT puts onto the
unchanged base, and from which A, B and where they started are read back bit by bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.compute import chance
from tunesmith.compute.dora import DoraLinear
from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.pissa import PissaLinear, principal
from tunesmith.errors import ModelError
from tunesmith.models.adapter_spec import LoraSpec

_A, _B, _M = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_PISSA = "tunesmith_pissa"


def own(name: str) -> bool:
    """Whether a parameter's name is that of an adapter on a linear layer."""
    return name.rpartition(".")[2] in ("lora_A", "lora_B", _M)


def layer_for(base: nn.Linear, spec: LoraSpec, name: str) -> LoraLinear:
    """A linear layer with the adapter of a spec, not yet started."""
    kind = DoraLinear if spec.dora else PissaLinear if spec.is_pissa else LoraLinear
    return kind(
        base,
        rank=spec.rank,
        scaling=spec.scaling,
        dropout=spec.dropout,
        layer=chance.number(name),
    )


@torch.no_grad()
def start(layer: LoraLinear, spec: LoraSpec, *, seed: int, name: str) -> None:
    """Put a new adapter where its kind starts.

    A is uniform as in PEFT (Kaiming, a = sqrt 5), drawn from (seed, name) so that it depends on no
    other layer, and B is zero; or both are the principal part of the weight (PiSSA).
    """
    if layer.weight.is_meta:
        return
    number = chance.number("lora_A", seed, name)
    if isinstance(layer, PissaLinear):
        assert spec.pissa is not None, "a layer of PiSSA comes from a spec of PiSSA"
        a, b = principal(
            layer.weight, rank=spec.rank, scaling=spec.scaling, iterations=spec.pissa, seed=number
        )
        layer.start(a, b)
        return
    bound = 1 / math.sqrt(layer.in_features)
    draw = torch.Generator().manual_seed(number)
    layer.lora_A.copy_(torch.empty(layer.lora_A.shape).uniform_(-bound, bound, generator=draw))


def refuse(spec: LoraSpec, layers: Mapping[str, nn.Linear]) -> None:
    """Refuse what no adapter can be, before anything is put on.

    Raises:
        ModelError: a rank or a dropout that there is not, kinds that exclude each other, a layer
            with fewer singular values than the rank.
    """
    if spec.rank < 1 or not 0 <= spec.dropout < 1:
        raise ModelError("adapter", got=spec, need="a rank of at least 1 and a dropout in [0, 1)")
    if spec.dora and spec.is_pissa:
        raise ModelError("adapter", got="DoRA and PiSSA", need="one of the two")
    for name, layer in layers.items() if spec.is_pissa else ():
        least = min(layer.in_features, layer.out_features)
        if least < spec.rank:
            raise ModelError(
                "lora_rank", got=spec.rank,
                need=f"at most {least}: {name} has no more singular values for PiSSA",
            )  # fmt: skip


def shapes(layer: Any, spec: LoraSpec) -> dict[str, tuple[int, ...]]:
    """What a file holds of one layer, with the shapes."""
    rank = 2 * spec.rank if spec.is_pissa else spec.rank
    found: dict[str, tuple[int, ...]] = {
        _A: (rank, layer.in_features),
        _B: (layer.out_features, rank),
    }
    return found | ({_M: (layer.out_features,)} if spec.dora else {})


@torch.no_grad()
def tensors(layer: LoraLinear) -> dict[str, Tensor]:
    """What a file holds of one layer."""
    if isinstance(layer, PissaLinear):
        a = torch.cat([layer.lora_A, -layer.first_A])
        return {_A: a, _B: torch.cat([layer.lora_B, layer.first_B], 1)}
    found: dict[str, Tensor] = {_A: layer.lora_A, _B: layer.lora_B}
    return found | ({_M: layer.lora_magnitude_vector} if isinstance(layer, DoraLinear) else {})


@torch.no_grad()
def put(layer: LoraLinear, found: Mapping[str, Tensor]) -> None:
    """Set a layer to what a file holds of it."""
    a, b = found[_A], found[_B]
    if isinstance(layer, PissaLinear):
        a, first_a = a.split(layer.rank)
        b, first_b = b.split(layer.rank, 1)
        layer.first_A.copy_(-first_a)
        layer.first_B.copy_(first_b)
    layer.lora_A.copy_(a)
    layer.lora_B.copy_(b)
    if isinstance(layer, DoraLinear):
        layer.lora_magnitude_vector.copy_(found[_M])


def told(spec: LoraSpec) -> dict[str, str]:
    """What metadata of the file says that PEFT's config cannot."""
    if not spec.is_pissa:
        return {}
    said = {"iterations": spec.pissa, "alpha": spec.alpha, "rslora": spec.rslora}
    return {_PISSA: json.dumps(said, sort_keys=True)}


def as_told(spec: LoraSpec, metadata: Mapping[str, str], where: Path) -> LoraSpec:
    """The spec of PEFT's config, with what the metadata says beside it.

    Raises:
        ModelError: the two contradict each other.
    """
    if _PISSA not in metadata:
        return spec
    try:
        said = json.loads(metadata[_PISSA])
        made = spec._replace(
            rank=spec.rank // 2,
            alpha=said["alpha"],
            rslora=bool(said["rslora"]),
            pissa=int(said["iterations"]),
        )
        if spec.rank % 2 == 0 and math.isclose(made.scaling, spec.scaling, rel_tol=1e-6):
            return made
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        pass
    raise ModelError(
        f"{where}: {_PISSA}", got=metadata[_PISSA], need="what belongs to its adapter_config.json"
    )
