"""A linear layer with a low-rank adapter, as one autograd function.

y = x Wᵀ + b + s · drop(x) Aᵀ Bᵀ, with W frozen. The input is kept once, by reference, however many
layers share it, or what it is made of (`remake`); it is never copied to fp32. Products are in the
dtype of the base weight (or of autocast); A, B and their gradients are fp32 outside of them, so
that small updates are not lost.

Shape letters: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute import chance, prepacked, remake


class LoraLinear(nn.Module):
    """A frozen linear layer and a trained product of two thin matrices beside it.

    The base weight keeps its name (`weight`), so that the model's own state dict is found under
    the keys it had. B starts at zero: a new adapter changes nothing.

    Args:
        base: the layer; its parameters are taken over, frozen, not copied.
        rank: R.
        scaling: alpha / rank, or alpha / sqrt(rank) with rsLoRA.
        dropout: chance in [0, 1) that an input of the adapter is dropped in training.
        layer: number that tells this layer's dropout from another's.
    """

    def __init__(
        self, base: nn.Linear, *, rank: int, scaling: float, dropout: float = 0.0, layer: int = 0
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.rank, self.scaling, self.dropout, self.layer = rank, scaling, dropout, layer
        self.enabled = True
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        if not self.enabled:
            return prepacked.linear(x, self.weight, self.bias)
        return _Lora.apply(x, self.weight, self.bias, *self.matrices(), self.how(x))

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A and B as they stand in the formula; a kind of adapter may make them of what learns."""
        return self.lora_A, self.lora_B

    def how(self, x: Tensor) -> _How:
        """What there is to know beside the matrices, for this input."""
        dtype = self.weight.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        draw = chance.current(self.layer) if self.training and self.dropout > 0 else None
        return _How(self.scaling, self.dropout, draw, dtype, remake.how(x))

    def delta(self) -> Tensor:
        """What the adapter adds to the weight: s · B A, (O, I) f32."""
        a, b = (matrix.detach().float() for matrix in self.matrices())
        return (b @ a) * self.scaling

    def extra_repr(self) -> str:
        """Sizes, for print(model)."""
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, scaling={self.scaling}"


class _How(NamedTuple):
    scaling: float
    dropout: float
    draw: chance.Draw | None
    dtype: torch.dtype
    made: remake.Made | None = None


class _Lora(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (autograd calls it so)
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, how: _How
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            flat_TI = (x.flatten(0, -2) if x.ndim > 2 else x).to(how.dtype)
            base_OI, a_RI, b_OR = weight.to(how.dtype), a.to(how.dtype), b.to(how.dtype)
            offset = None if bias is None else bias.to(how.dtype)
            out_TO = prepacked.linear(flat_TI, base_OI, offset)
            low_TR = thin(_dropped(flat_TI, how), a_RI.T)
            out_TO.addmm_(low_TR, b_OR.T, alpha=how.scaling)
        kept, ctx.again = remake.keep(flat_TI, how.made)
        ctx.save_for_backward(low_TR, weight, a, b, *kept)
        ctx.how, ctx.shape, ctx.x_dtype = how._replace(made=None), x.shape, x.dtype
        return unflat(out_TO, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        low_TR, weight, a, b, *kept = ctx.saved_tensors
        how: _How = ctx.how
        with torch.autocast(grad.device.type, enabled=False):
            grad_TO = (grad.flatten(0, -2) if grad.ndim > 2 else grad).to(how.dtype)
            grad_low_TR = thin(grad_TO, b.to(how.dtype)).mul_(how.scaling)
            grad_a = (grad_low_TR.T @ _dropped(ctx.again(*kept), how)).to(a.dtype)
            grad_b = (low_TR.T @ grad_TO).T.to(b.dtype).mul_(how.scaling)
            if not ctx.needs_input_grad[0]:
                return None, None, None, grad_a, grad_b, None
            grad_x = grad_TO @ weight.to(how.dtype)
            if how.draw is None:
                grad_x.addmm_(grad_low_TR, a.to(how.dtype))
            else:
                grad_x += _dropped(grad_low_TR @ a.to(how.dtype), how)
        return grad_x.to(ctx.x_dtype).view(ctx.shape), None, None, grad_a, grad_b, None


def unflat(out_TO: Tensor, x: Tensor) -> Tensor:
    """(T, O) as (..., O), shaped as the input was: the result of a function of autograd's.

    In the same memory, but no view to autograd, which would not let the model go on in place
    (falcon adds its two branches so).
    """
    return torch.ops.aten._unsafe_view(out_TO, (*x.shape[:-1], out_TO.shape[-1]))


def thin(wide: Tensor, narrow: Tensor) -> Tensor:
    """Product of a wide matrix and one of few columns, as its own transpose in fp32.

    Eight columns run at a fourth of the speed of eight rows there (measured, MKL on AVX512); in
    bf16 there is no such difference.
    """
    return (narrow.T @ wide.T).T if wide.dtype == torch.float32 else wide @ narrow


def _dropped(x_TI: Tensor, how: _How) -> Tensor:
    """The input, or its gradient, through the same mask."""
    if how.draw is None:
        return x_TI
    mask = chance.keep(how.draw, x_TI.shape[-1], dropout=how.dropout)
    return x_TI * mask.to(x_TI.dtype).div_(1 - how.dropout)
