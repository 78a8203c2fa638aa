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
        (cos1, cos2), (sin1, sin2) = _halves(cos), _halves(sin)
        return _turn(x, (cos1, cos2), (sin1.neg(), sin2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        (cos1, cos2), (sin1, sin2) = _halves(cos), _halves(sin)
        return _turn(grad, (cos1, cos2), (sin2, sin1.neg())), None, None


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """(1, T, E) to two (1, T, 1, F)."""
    first, second = x.unsqueeze(2).chunk(2, -1)
    return first, second


def _turn(x: Tensor, own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Each half times its own factor, plus the other half times the other."""
    out = torch.empty(x.shape, dtype=torch.result_type(x, own[0]), device=x.device)
    first, second = x.chunk(2, -1)
    for toward, here, there, a, b in zip(
        out.chunk(2, -1), (first, second), (second, first), own, other, strict=True
    ):
        torch.mul(here, a, out=toward)
        toward.addcmul_(there, b)
    return out
