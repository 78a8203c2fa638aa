"""The gated block, down(act(gate(x)) · up(x)), as one autograd function.

Neither the activation nor the product is kept: the backward pass makes them again from what gate
and up gave, which costs two passes over them.

Kept for the backward pass, per token: the input (by reference), the outputs of gate and up (two
times the inner width), and ΣR numbers.

Shape letters: T tokens, I inner width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.compute import rows
from tunesmith.compute.fused.linears import (
    TENSORS,
    Layers,
    Part,
    multiply,
    multiply_backward,
    product_dtype,
)
from tunesmith.compute.lora import unflat

ACTIVATIONS = ("silu", "gelu", "gelu_tanh")


class _How(NamedTuple):
    outer: tuple[Part, ...]
    inner: tuple[Part, ...]
    act: str
    dtype: torch.dtype


def gated(x: Tensor, gate_up: Layers, down: Layers, act: str) -> Tensor:
    """(..., W) to (..., W).

    Args:
        x: the input of gate and up.
        gate_up: these two.
        down: the one that reads their product.
        act: one of `ACTIVATIONS`.
    """
    how = _How(gate_up.parts, down.parts, act, product_dtype(x, gate_up))
    return _Gated.apply(x, how, *gate_up.tensors, *down.tensors)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: _How, *tensors: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            flat = x.reshape(-1, x.shape[-1]).to(how.dtype)
            (gate_TI, up_TI), low_TR = multiply(flat, how.outer, tensors[: 2 * TENSORS])
            inner_TI = _product(gate_TI, up_TI, how.act)
            (out,), inner_low_TR = multiply(inner_TI, how.inner, tensors[2 * TENSORS :])
        ctx.save_for_backward(flat, low_TR, inner_low_TR, gate_TI, up_TI, *tensors)
        ctx.how, ctx.shape, ctx.x_dtype = how, x.shape, x.dtype
        return unflat(out, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, low_TR, inner_low_TR, gate_TI, up_TI, *tensors = ctx.saved_tensors
        how: _How = ctx.how
        want = ctx.needs_input_grad[2:]
        with torch.autocast(flat.device.type, enabled=False):
            inner_TI = _product(gate_TI, up_TI, how.act)
            pull_TI, learned_down = multiply_backward(
                [grad.reshape(-1, grad.shape[-1]).to(how.dtype)], inner_TI, inner_low_TR,
                how.inner, tensors[2 * TENSORS :], want_x=True, want=want[2 * TENSORS :],
            )  # fmt: skip
            assert pull_TI is not None, "it was wanted"
            toward_gate_TI = inner_TI  # its memory is free now
            _pull(gate_TI, up_TI, pull_TI, toward_gate_TI, shared=(how.act,))
            toward, learned = multiply_backward(
                [toward_gate_TI, pull_TI], flat, low_TR, how.outer, tensors[: 2 * TENSORS],
                want_x=ctx.needs_input_grad[0], want=want[: 2 * TENSORS],
            )  # fmt: skip
        if toward is not None:
            toward = toward.to(ctx.x_dtype).view(ctx.shape)
        return toward, None, *learned, *learned_down


def _product(gate_TI: Tensor, up_TI: Tensor, act: str) -> Tensor:
    """act(gate) · up."""
    out_TI = torch.empty_like(gate_TI)
    _multiply(gate_TI, up_TI, out_TI, shared=(act,))
    return out_TI


@rows.Kernel
def _multiply(gate_TI: Tensor, up_TI: Tensor, out_TI: Tensor, act: str) -> None:
    torch.mul(_act(gate_TI, act), up_TI, out=out_TI)


@rows.Kernel
def _pull(  # noqa: PLR0917
    gate_TI: Tensor, up_TI: Tensor, pull_TI: Tensor, toward_gate_TI: Tensor, act: str
) -> None:
    """The product's gradient to that of up, in place, and that of gate."""
    active = _act(gate_TI, act)
    toward_gate_TI.copy_(_act_backward(pull_TI * up_TI, gate_TI, act))
    pull_TI.mul_(active)


def _act(gate: Tensor, act: str) -> Tensor:
    if act == "silu":
        return torch.nn.functional.silu(gate)
    approximate = "tanh" if act == "gelu_tanh" else "none"
    return torch.nn.functional.gelu(gate, approximate=approximate)


def _act_backward(grad: Tensor, gate: Tensor, act: str) -> Tensor:
    if act == "silu":
        return torch.ops.aten.silu_backward(grad, gate)
    approximate = "tanh" if act == "gelu_tanh" else "none"
    return torch.ops.aten.gelu_backward(grad, gate, approximate=approximate)
