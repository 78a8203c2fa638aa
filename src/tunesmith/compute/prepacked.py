"""Frozen weights laid out once in the order in which a processor's kernels read them.

A product of few rows, as every token of an answer is, spends half its time on bringing the weight
into that order, each time anew (measured; docs/log.md). Here the order is kept beside the weight.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 16
"""Rows that the order is chosen for; it serves any number."""
_ATTRIBUTE = "_prepacked"


class _Packed(NamedTuple):
    weight: Tensor
    """In oneDNN's own layout."""
    version: int
    """Of the weight that it was made from: one that was written to since is not it any more."""


def prepack(model: nn.Module, *, room: int) -> int:
    """Lay out the weights of linear layers, in place, for a model that only answers from now on.

    Every row of a product stays what it is beside any other rows, from two rows on.

    Args:
        model: on a processor, in fp32 or bf16; other layers are left as they are.
        room: bytes that this may take; nothing is done where it would take more.

    Returns:
        Bytes that it takes.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    weights = {id(x.weight): x.weight for x in layers if _fits(x.weight)}
    size = sum(weight.nbytes for weight in weights.values())
    if size > room or not torch.backends.mkldnn.is_available():
        return 0
    for weight in weights.values():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        setattr(weight, _ATTRIBUTE, _Packed(packed, weight._version))
    for layer in layers:
        if id(layer.weight) in weights:
            layer.forward = partial(_forward, layer)
    return size


def _fits(weight: Any) -> bool:
    dense = type(weight) is nn.Parameter and weight.device.type == "cpu"
    return dense and weight.dtype in (torch.float32, torch.bfloat16)


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """X Wᵀ + b, (..., I) to (..., O), by the packed weight where there is one."""
    packed: _Packed | None = getattr(weight, _ATTRIBUTE, None)
    if (
        packed is None
        or torch.is_grad_enabled()
        or packed.version != weight._version
        or x.dtype != weight.dtype
    ):
        return functional.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    out = torch.ops.mkldnn._linear_pointwise(flat, packed.weight, bias, "none", [], "")
    return out.view(*x.shape[:-1], out.shape[-1])
