"""Linear layers that read one input, as one autograd function: query, key and value; gate and up.

The input is kept once, the rank-r products of all adapters are one product with their A matrices
laid end to end, and the gradients toward the input are added up in one buffer. A layer may be
plain (frozen or learned) or carry an adapter; each keeps its own rank, scaling and dropout.

Kept for the backward pass, per token: the input (by reference, or what it is made of: `remake`)
and ΣR numbers.

Shape letters: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute import chance, remake
from tunesmith.compute.lora import LoraLinear, thin, unflat

TENSORS = 4
"""Of one layer: weight, bias, A, B."""


class Part(NamedTuple):
    """What there is to know of one layer beside its tensors."""

    scaling: float
    dropout: float
    draw: chance.Draw | None
    rank: int
    """0 without an adapter."""


class Layers(NamedTuple):
    """Layers as a function takes them."""

    parts: tuple[Part, ...]
    tensors: tuple[Tensor | None, ...]
    """`TENSORS` of each layer."""


def read(modules: Sequence[nn.Module]) -> Layers | None:
    """The layers as they are now; `None` where one is of a kind that is not computed here.

    Kinds are exact: a subclass computes something else. Hooks would not be called.
    """
    parts: list[Part] = []
    tensors: list[Tensor | None] = []
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            return None
        if type(module) is LoraLinear:
            adapter = module if module.enabled else None
        elif type(module) is nn.Linear:
            adapter = None
        else:
            return None
        assert isinstance(module, LoraLinear | nn.Linear)
        if adapter is None:
            parts.append(Part(1.0, 0.0, None, 0))
            tensors += [module.weight, module.bias, None, None]
            continue
        drops = adapter.training and adapter.dropout > 0
        draw = chance.current(adapter.layer) if drops else None
        parts.append(Part(adapter.scaling, adapter.dropout, draw, adapter.rank))
        tensors += [module.weight, module.bias, adapter.lora_A, adapter.lora_B]
    return Layers(tuple(parts), tuple(tensors))


def product_dtype(x: Tensor, layers: Layers) -> torch.dtype:
    """Of autocast, else of the first weight."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    assert layers.tensors[0] is not None, "every layer has a weight"
    return layers.tensors[0].dtype


def together(x: Tensor, layers: Layers) -> tuple[Tensor, ...]:
    """Every layer's output: (..., I) to (..., O) each."""
    how = _How(layers.parts, product_dtype(x, layers), remake.how(x))
    return _Together.apply(x, how, *layers.tensors)


class _How(NamedTuple):
    parts: tuple[Part, ...]
    dtype: torch.dtype
    made: remake.Made | None


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: _How, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):
            flat_TI = x.reshape(-1, x.shape[-1]).to(how.dtype)
            outs, low_TR = multiply(flat_TI, how.parts, tensors)
        kept, ctx.again = remake.keep(flat_TI, how.made)
        ctx.save_for_backward(low_TR, *tensors, *kept)
        ctx.parts, ctx.shape, ctx.x_dtype = how.parts, x.shape, x.dtype
        return tuple(unflat(out, x) for out in outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        low_TR, *saved = ctx.saved_tensors
        tensors, kept = saved[: (count := TENSORS * len(ctx.parts))], saved[count:]
        with torch.autocast(low_TR.device.type, enabled=False):
            flat_TI = ctx.again(*kept)
            outs = [grad.reshape(-1, grad.shape[-1]).to(flat_TI.dtype) for grad in grads]
            toward, learned = multiply_backward(
                outs, flat_TI, low_TR, ctx.parts, tensors,
                want_x=ctx.needs_input_grad[0], want=ctx.needs_input_grad[2:],
            )  # fmt: skip
        if toward is not None:
            toward = toward.to(ctx.x_dtype).view(ctx.shape)
        return toward, None, *learned


def multiply(
    flat_TI: Tensor, parts: Sequence[Part], tensors: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    """Outputs (T, O) of every layer, and the rank-r products of all, (T, ΣR)."""
    dtype = flat_TI.dtype
    low_TR, outs, start = _low(flat_TI, parts, tensors), [], 0
    for i, part in enumerate(parts):
        weight, bias, _, b = tensors[TENSORS * i : TENSORS * (i + 1)]
        assert weight is not None, "every layer has a weight"
        offset = None if bias is None else bias.to(dtype)
        out_TO = nn.functional.linear(flat_TI, weight.to(dtype), offset)
        if b is not None:
            own_TR = low_TR[:, start : start + part.rank]
            out_TO.addmm_(own_TR, b.to(dtype).T, alpha=part.scaling)
        outs.append(out_TO)
        start += part.rank
    return outs, low_TR


def multiply_backward(  # noqa: PLR0917
    grads: Sequence[Tensor],
    flat_TI: Tensor,
    low_TR: Tensor,
    parts: Sequence[Part],
    tensors: Sequence[Tensor | None],
    *,
    want_x: bool,
    want: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Gradients toward the input, (T, I), and toward the tensors that `want` names."""
    dtype = flat_TI.dtype
    toward: Tensor | None = None
    learned: list[Tensor | None] = []
    pulls: list[Tensor] = []
    start = 0
    for i, (part, grad_TO) in enumerate(zip(parts, grads, strict=True)):
        weight, bias, _, b = tensors[TENSORS * i : TENSORS * (i + 1)]
        wants = want[TENSORS * i : TENSORS * (i + 1)]
        assert weight is not None, "every layer has a weight"
        learned += [None] * TENSORS
        if wants[0]:
            learned[-4] = (grad_TO.T @ flat_TI).to(weight.dtype)
        if wants[1] and bias is not None:
            learned[-3] = grad_TO.sum(0, dtype=torch.promote_types(dtype, torch.float32)).to(
                bias.dtype
            )
        if b is not None:
            if wants[3]:  # the thin factor first: the other way around runs at a third of the speed
                own_RT = low_TR[:, start : start + part.rank].T
                learned[-1] = (own_RT @ grad_TO).T.to(b.dtype).mul_(part.scaling)
            pulls.append(thin(grad_TO, b.to(dtype)).mul_(part.scaling))
            start += part.rank
        if want_x:
            base = weight.to(dtype)
            toward = grad_TO @ base if toward is None else toward.addmm_(grad_TO, base)
    _through_a(toward, pulls, flat_TI, parts, tensors, learned, want)
    return toward, learned


def _through_a(  # noqa: PLR0917
    toward: Tensor | None,
    pulls: list[Tensor],
    flat_TI: Tensor,
    parts: Sequence[Part],
    tensors: Sequence[Tensor | None],
    learned: list[Tensor | None],
    want: Sequence[bool],
) -> None:
    """Gradients toward every A, and through it toward the input, in place."""
    places = [i for i, part in enumerate(parts) if part.rank]
    if not places:
        return
    matrices = [_matrix(tensors, i) for i in places]
    dropping = any(parts[i].draw is not None for i in places)
    groups = [[n] for n in range(len(places))] if dropping else [list(range(len(places)))]
    for group in groups:
        part = parts[places[group[0]]]
        pull_TR = pulls[group[0]] if len(group) == 1 else torch.cat([pulls[n] for n in group], 1)
        a_RI = torch.cat([matrices[n] for n in group]).to(flat_TI.dtype)
        if any(want[TENSORS * places[n] + 2] for n in group):
            found = pull_TR.T @ _dropped(flat_TI, part)
            for n, piece in zip(
                group, found.split([parts[places[n]].rank for n in group]), strict=True
            ):
                learned[TENSORS * places[n] + 2] = piece.to(matrices[n].dtype)
        if toward is None:
            continue
        if part.draw is None:
            toward.addmm_(pull_TR, a_RI)
        else:
            toward += _dropped(pull_TR @ a_RI, part)


def _low(flat_TI: Tensor, parts: Sequence[Part], tensors: Sequence[Tensor | None]) -> Tensor:
    """Every adapter's x Aᵀ, side by side: (T, ΣR)."""
    places = [i for i, part in enumerate(parts) if part.rank]
    if not places:
        return flat_TI.new_empty(len(flat_TI), 0)
    matrices = [_matrix(tensors, i) for i in places]
    if all(parts[i].draw is None for i in places):
        return thin(flat_TI, torch.cat(matrices).to(flat_TI.dtype).T)
    pieces = [
        thin(_dropped(flat_TI, parts[i]), a.to(flat_TI.dtype).T)
        for i, a in zip(places, matrices, strict=True)
    ]
    return torch.cat(pieces, 1)


def _matrix(tensors: Sequence[Tensor | None], place: int) -> Tensor:
    a = tensors[TENSORS * place + 2]
    assert a is not None, "a layer of rank above 0 has an A"
    return a


def _dropped(x_TI: Tensor, part: Part) -> Tensor:
    """The input, or its gradient, through the same mask."""
    if part.draw is None:
        return x_TI
    mask = chance.keep(part.draw, x_TI.shape[-1], dropout=part.dropout)
    return x_TI * mask.to(x_TI.dtype).div_(1 - part.dropout)
