"""Rotation of queries and keys by their positions, as one autograd function.

The first and second half of a head are turned into each other (the layout of LLaMA's weights in
transformers). Backward is the rotation the other way: nothing but the angles is kept, and those
are the same for all layers.

Shape letters: T tokens, H heads, E width of a head, F = E / 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turned heads: x · cos + rotate_half(x) · sin.

    Args:
        x: (1, T, H, E).
        cos: (1, T, E).
        sin: (1, T, E).
    """
    return _Rotate.apply(x, cos, sin)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        sin1, sin2 = sin.chunk(2, -1)
        return _turn(x, cos, sin1.neg(), sin2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        sin1, sin2 = sin.chunk(2, -1)
        return _turn(grad, cos, sin2, sin1.neg()), None, None


def _turn(x: Tensor, own: Tensor, other1: Tensor, other2: Tensor) -> Tensor:
    """Each half times its own factor, plus the other half times the other's.

    Never compiled: on a processor the compiler makes it half as fast (it copies what is written
    in halves).

    Args:
        x: (1, T, H, E).
        own: (1, T, E).
        other1: what the second half adds to the first, (1, T, F).
        other2: what the first adds to the second.
    """
    out = torch.empty(x.shape, dtype=torch.result_type(x, own), device=x.device)
    (first, second), (toward1, toward2) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(x, own.unsqueeze(2), out=out)
    toward1.addcmul_(second, other1.unsqueeze(2))
    toward2.addcmul_(first, other2.unsqueeze(2))
    return out
