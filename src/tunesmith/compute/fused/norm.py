"""RMSNorm as one autograd function that keeps its input, one number a token, and nothing else.

y = w · x / sqrt(mean(x²) + ε), in fp32 whatever the input is, rounded once. On a processor it runs
over slices of rows that stay in its cache, so that no fp32 copy of all rows is ever made.

Kept for the backward pass, per token: the input (by reference) and 4 bytes. The output is made of
the same two: what reads it need not keep it (`remake`).

Shape letters: T tokens, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute import pretend, remake
from tunesmith.compute.lora import unflat

_VALUES_AT_ONCE = 2**16


def rms_norm(x: Tensor, weight_W: Tensor, epsilon: float) -> Tensor:
    """(..., W) in the dtype that input and weight have in common.

    Args:
        x: (..., W).
        weight_W: factor on each feature.
        epsilon: added to the mean of squares.
    """
    with torch.no_grad():
        flat_TW = x.reshape(-1, x.shape[-1])
        length_T1 = torch.linalg.vector_norm(flat_TW, dim=-1, keepdim=True, dtype=torch.float32)
        rate_T1 = length_T1.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    out = _Norm.apply(x, flat_TW, rate_T1, weight_W)
    return remake.told(out, _scaled, flat_TW, rate_T1, weight_W)


def _scaled(flat_TW: Tensor, rate_T1: Tensor, weight_W: Tensor) -> Tensor:
    """The product of the three, a cache full at a time."""
    out_TW = torch.empty_like(flat_TW, dtype=torch.result_type(flat_TW, weight_W))
    weight = weight_W.float()
    for part in slices(len(flat_TW), flat_TW.shape[1], flat_TW.device):
        out_TW[part] = flat_TW[part].float().mul(rate_T1[part]).mul_(weight)
    return out_TW


def slices(rows: int, width: int, device: torch.device, *, times: int = 1) -> Iterator[slice]:
    """Rows that are worked on at once: all of them on a GPU, a cache full on a processor.

    Where there are no numbers (`pretend`) the first stand for all: the others need no more memory.

    Args:
        rows: how many there are.
        width: values of each.
        device: where they are.
        times: more of them at once, where each row is wide.
    """
    size = max(1, times * _VALUES_AT_ONCE // max(width, 1))
    size = size if device.type == "cpu" else max(rows, 1)
    starts = range(0, min(rows, size) if pretend.is_on() else rows, size)
    return (slice(start, min(start + size, rows)) for start in starts)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (autograd calls it so)
        ctx: Any, x: Tensor, flat_TW: Tensor, rate_T1: Tensor, weight_W: Tensor
    ) -> Tensor:
        out_TW = _scaled(flat_TW, rate_T1, weight_W)
        ctx.save_for_backward(flat_TW, rate_T1, weight_W)
        ctx.shape = x.shape
        return unflat(out_TW, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat_TW, rate_T1, weight_W = ctx.saved_tensors
        grad_TW = grad.reshape(-1, grad.shape[-1])
        rows, width = flat_TW.shape
        wants_x, _, _, wants_weight = ctx.needs_input_grad
        toward_TW = torch.empty_like(flat_TW) if wants_x else None
        toward_W = torch.zeros_like(weight_W, dtype=torch.float32) if wants_weight else None
        weight = weight_W.float()
        for part in slices(rows, width, grad.device):
            unit = flat_TW[part].float().mul(rate_T1[part])
            pull = grad_TW[part].float()
            if toward_W is not None:
                toward_W += (pull * unit).sum(0)
            if toward_TW is not None:
                pull = pull * weight
                share = (pull * unit).mean(-1, keepdim=True)
                toward_TW[part] = pull.sub_(unit.mul_(share)).mul_(rate_T1[part])
        if toward_W is not None:
            toward_W = toward_W.to(weight_W.dtype)
        toward = None if toward_TW is None else toward_TW.view(ctx.shape)
        return toward, None, None, toward_W
