"""RMSNorm as one autograd function that keeps its input, one number a token, and nothing else.

y = w · x / sqrt(mean(x²) + ε), in fp32 whatever the input is, rounded once.

Kept for the backward pass, per token: the input (by reference) and 4 bytes.

Shape letters: T tokens, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tunesmith.compute import rows
from tunesmith.compute.lora import unflat


def rms_norm(x: Tensor, weight_W: Tensor, epsilon: float) -> Tensor:
    """(..., W) in the dtype that input and weight have in common.

    Args:
        x: (..., W).
        weight_W: factor on each feature.
        epsilon: added to the mean of squares.
    """
    return _Norm.apply(x, weight_W, epsilon)


@rows.Kernel
def _scale(x_TW: Tensor, rate_T1: Tensor, out_TW: Tensor, weight_W: Tensor) -> None:
    out_TW.copy_(x_TW.float().mul(rate_T1).mul_(weight_W.float()))


@rows.Kernel
def _pull(  # noqa: PLR0917
    x_TW: Tensor,
    rate_T1: Tensor,
    grad_TW: Tensor,
    toward_TW: Tensor | None,
    weight_W: Tensor,
    toward_W: Tensor | None,
) -> None:
    """Gradients toward the input and, added up, toward the weight."""
    unit, pull = x_TW.float().mul(rate_T1), grad_TW.float()
    if toward_W is not None:
        toward_W += (pull * unit).sum(0)
    if toward_TW is not None:
        pull = pull * weight_W.float()
        share = (pull * unit).mean(-1, keepdim=True)
        toward_TW.copy_(pull.sub_(unit.mul_(share)).mul_(rate_T1))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_W: Tensor, epsilon: float) -> Tensor:
        flat_TW = x.reshape(-1, x.shape[-1])
        width = x.shape[-1]
        out_TW = torch.empty_like(flat_TW, dtype=torch.result_type(x, weight_W))
        length_T1 = torch.linalg.vector_norm(flat_TW, dim=-1, keepdim=True, dtype=torch.float32)
        rate_T1 = length_T1.square_().div_(width).add_(epsilon).rsqrt_()
        _scale(flat_TW, rate_T1, out_TW, shared=(weight_W,))
        ctx.save_for_backward(flat_TW, rate_T1, weight_W)
        ctx.shape = x.shape
        return unflat(out_TW, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat_TW, rate_T1, weight_W = ctx.saved_tensors
        grad_TW = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight, _ = ctx.needs_input_grad
        toward_TW = torch.empty_like(flat_TW) if wants_x else None
        toward_W = torch.zeros_like(weight_W, dtype=torch.float32) if wants_weight else None
        _pull(flat_TW, rate_T1, grad_TW, toward_TW, shared=(weight_W, toward_W))
        if toward_W is not None:
            toward_W = toward_W.to(weight_W.dtype)
        return None if toward_TW is None else toward_TW.view(ctx.shape), toward_W, None
