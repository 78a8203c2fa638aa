"""A linear layer with a DoRA adapter, as one autograd function (arXiv:2402.09353).

The direction of each output's weights is learned by a low-rank adapter, their length by a number:
y = g · (x Wᵀ + s · x Aᵀ Bᵀ) + b, with g = m / ‖W + s · B A‖ for each output. As in section 4.3 of
the paper, and in PEFT, the norm is a constant in the backward pass. Dropout falls, as in PEFT, on
what the adapter changes: y = x Wᵀ + b + g · v - z Wᵀ, with z = drop(x) and v = z Wᵀ + s · z Aᵀ Bᵀ.

Norms are computed in fp32 whatever the base is stored in. The gain, which is near 1, is kept as its
distance from 1: as a bf16 number it would be off by up to 0.4 %, for all outputs of a row alike.

Shape letters: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.compute import remake
from tunesmith.compute.lora import LoraLinear, _dropped, _How, unflat

_AT_ONCE = 2**24
"""Values of a weight that are held in fp32 at one time."""


class DoraLinear(LoraLinear):
    """A frozen linear layer whose weights are turned by A and B and scaled by a magnitude.

    The magnitude starts as the norm of the base: a new adapter changes nothing.

    Args:
        base: the layer; its parameters are taken over, frozen, not copied.
        rank: R.
        scaling: as of `LoraLinear`.
        dropout: as of `LoraLinear`.
        layer: as of `LoraLinear`.
    """

    def __init__(
        self, base: nn.Linear, *, rank: int, scaling: float, dropout: float = 0.0, layer: int = 0
    ) -> None:
        super().__init__(base, rank=rank, scaling=scaling, dropout=dropout, layer=layer)
        nn.init.zeros_(self.lora_A)  # what memory holds may be no number, even times B = 0
        self.lora_magnitude_vector = nn.Parameter(self.norm())

    def norm(self) -> Tensor:
        """‖W + s · B A‖ of each output's weights, (O,) f32."""
        a, b = self.matrices()
        return norms(self.weight.detach(), a.detach(), b.detach(), self.scaling)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        if not self.enabled:
            return nn.functional.linear(x, self.weight, self.bias)
        a, b = self.matrices()
        return _Dora.apply(x, self.weight, self.bias, a, b, self.lora_magnitude_vector, self.how(x))

    def delta(self) -> Tensor:
        """What the adapter adds to the weight: g · (W + s · B A) - W, (O, I) f32."""
        weight = self.weight.detach().float()
        gain = self.lora_magnitude_vector.detach().float() / self.norm()
        return gain[:, None] * (weight + super().delta()) - weight


def norms(weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scaling: float) -> Tensor:
    """‖W + s · B A‖ of each row, in fp32, some rows at a time; never 0. (O,) f32."""
    rows = max(1, _AT_ONCE // weight_OI.shape[1])
    a_RI, b_OR = a_RI.float(), b_OR.float()
    parts = [
        torch.linalg.vector_norm(
            torch.addmm(weight_OI[start : start + rows].float(), b, a_RI, alpha=scaling), dim=1
        )
        for start, b in zip(range(0, len(b_OR), rows), b_OR.split(rows), strict=True)
    ]
    return torch.cat(parts).clamp_min(torch.finfo(torch.float32).tiny)


class _Dora(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (autograd calls it so)
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        magnitude: Tensor,
        how: _How,
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            flat_TI = (x.flatten(0, -2) if x.ndim > 2 else x).to(how.dtype)
            base_OI, a_RI, b_OR = weight.to(how.dtype), a.to(how.dtype), b.to(how.dtype)
            norm_O = norms(weight, a, b, how.scaling)
            more_O = (magnitude / norm_O - 1).to(how.dtype)
            dropped_TI = _dropped(flat_TI, how)
            low_TR = dropped_TI @ a_RI.T
            along_TO = dropped_TI @ base_OI.T
            along_TO.addmm_(low_TR, b_OR.T, alpha=how.scaling)
            out_TO = torch.addcmul(along_TO, along_TO, more_O)
            if how.draw is not None:
                out_TO.addmm_(flat_TI - dropped_TI, base_OI.T)
            if bias is not None:
                out_TO += bias.to(how.dtype)
        kept, ctx.again = remake.keep(flat_TI, how.made)
        ctx.save_for_backward(low_TR, along_TO, weight, a, b, more_O, norm_O, *kept)
        ctx.how, ctx.shape, ctx.x_dtype = how._replace(made=None), x.shape, x.dtype
        return unflat(out_TO, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        low_TR, along_TO, weight, a, b, more_O, norm_O, *kept = ctx.saved_tensors
        how: _How = ctx.how
        with torch.autocast(grad.device.type, enabled=False):
            grad_TO = (grad.flatten(0, -2) if grad.ndim > 2 else grad).to(how.dtype)
            grad_m = (grad_TO * along_TO).sum(0, dtype=torch.float32).div_(norm_O)
            scaled_TO = torch.addcmul(grad_TO, grad_TO, more_O)
            grad_low_TR = (scaled_TO @ b.to(how.dtype)).mul_(how.scaling)
            grad_a = (grad_low_TR.T @ _dropped(ctx.again(*kept), how)).to(a.dtype)
            grad_b = (scaled_TO.T @ low_TR).to(b.dtype).mul_(how.scaling)
            if not ctx.needs_input_grad[0]:
                return None, None, None, grad_a, grad_b, grad_m, None
            base_OI, a_RI = weight.to(how.dtype), a.to(how.dtype)
            if how.draw is None:
                grad_x = (scaled_TO @ base_OI).addmm_(grad_low_TR, a_RI)
            else:
                through = ((grad_TO * more_O) @ base_OI).addmm_(grad_low_TR, a_RI)
                grad_x = (grad_TO @ base_OI).add_(_dropped(through, how))
        return grad_x.to(ctx.x_dtype).view(ctx.shape), None, None, grad_a, grad_b, grad_m, None
