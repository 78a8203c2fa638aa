"""A frozen weight that is held in 4 or 8 bits and read as a dense one.

Whatever computes with it gets the dense weight, made for that product and dropped after it; so
every layer, fused or not, works over it unchanged, and its backward pass as well; FP8 is the
exception, where the products are in 8 bits themselves (`float8`). Writing to it is refused. The
arithmetic of the codes is bitsandbytes': 4 bits by blocks of 64 (QLoRA,
arXiv:2305.14314, section 3), 8 bits by rows (LLM.int8(), arXiv:2208.07339, section 2).

Shape letters: O outputs, I inputs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from tunesmith.compute import float8
from tunesmith.compute.bnb import library
from tunesmith.errors import ModelError

Kind = Literal["nf4", "fp4", "int8", "fp8"]

_aten = torch.ops.aten


class Quantized(Tensor):
    """A weight as codes and scales; its shape and dtype are those of the dense weight.

    Args:
        parts: codes, scales and, where these are quantised too, scales of the scales.
        kind: what the codes mean.
        shape: of the dense weight.
        dtype: of the dense weight.
        turned: whether the dense weight is the transpose of what the codes hold.
    """

    parts: dict[str, Tensor]
    kind: Kind
    turned: bool

    @staticmethod
    def __new__(
        cls: Any,
        parts: dict[str, Tensor],
        kind: Kind,
        *,
        shape: torch.Size,
        dtype: torch.dtype,
        turned: bool = False,
    ) -> Quantized:
        """Made by torch's own way for tensors that wrap others."""
        device = parts["codes"].device
        self = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)  # pyright: ignore[reportAttributeAccessIssue]
        self.parts, self.kind, self.turned = parts, kind, turned
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Copies and transposes stay quantised, writing is refused, the rest is dense."""
        kwargs, own = kwargs or {}, args[0] if args else None
        if isinstance(own, Quantized):
            if func in _SAME:
                return own._with(own.parts)
            if func in _TURNING and tuple(args[1:]) in _TURNING[func]:
                return own._transposed()
            if func is _aten.clone.default:
                return own._with({name: part.clone() for name, part in own.parts.items()})
            if func is _aten._to_copy.default and kwargs.get("dtype") in (None, own.dtype):
                to = kwargs.get("device") or own.device
                return own._with({name: part.to(to) for name, part in own.parts.items()})
        if func in _PRODUCTS and _in_float8(args):
            return _PRODUCTS[func](*args, **kwargs)
        given = (
            dict(zip((told.name for told in func._schema.arguments), args, strict=False)) | kwargs
        )
        if any(
            isinstance(given.get(told.name), Quantized)
            for told in func._schema.arguments
            if told.alias_info is not None and told.alias_info.is_write
        ):
            raise ModelError(
                "a weight in 4 or 8 bits", got=str(func), need="it to stay as it was loaded",
                hint="leave out quantization_bit",
            )  # fmt: skip
        args, kwargs = tree_map_only(Quantized, Quantized.dense, (args, kwargs))
        return func(*args, **kwargs)

    def dense(self) -> Tensor:
        """The weight that the codes stand for, in the dtype of this one."""
        shape = self.shape[::-1] if self.turned else self.shape
        held = _DENSE[self.kind](self, shape)
        return held.T if self.turned else held

    def times(self, rows_MK: Tensor) -> Tensor:
        """Rows times this weight by a product in FP8."""
        side = "" if self.turned else "turned"
        codes, scales = (self.parts[f"{side}_{name}".strip("_")] for name in ("codes", "scales"))
        return float8.product(rows_MK, codes, scales)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())

    def __repr__(self, **kwargs: Any) -> str:
        return f"Quantized({self.kind}, {tuple(self.shape)}, {self.dtype}, {self.device})"

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        """For torch.compile: the tensors inside, and what else there is to know."""
        for name, part in self.parts.items():
            setattr(self, f"_{name}", part)
        return [f"_{name}" for name in self.parts], (self.kind, self.dtype, self.turned)

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], told: Any, size: Any, stride: Any) -> Tensor:
        """The way back."""
        kind, dtype, turned = told
        parts = {name[1:]: part for name, part in inner.items()}
        return Quantized(parts, kind, shape=size, dtype=dtype, turned=turned)

    def _stable_hash_for_caching(self) -> str:
        """For torch.compile: what the compiled code depends on."""
        return f"{self.kind} {tuple(self.shape)} {self.dtype} {self.turned} {sorted(self.parts)}"

    def _with(self, parts: dict[str, Tensor]) -> Quantized:
        return Quantized(parts, self.kind, shape=self.shape, dtype=self.dtype, turned=self.turned)

    def _transposed(self) -> Quantized:
        shape = torch.Size(reversed(self.shape))
        return Quantized(
            self.parts, self.kind, shape=shape, dtype=self.dtype, turned=not self.turned
        )


def _in_float8(args: tuple[Any, ...]) -> bool:
    """Whether a product's second matrix is held in FP8, and its first is rounded for it now."""
    rows, weight = args[-2:]
    held = isinstance(weight, Quantized) and weight.kind == "fp8"
    return held and float8.rounds_inputs() and not isinstance(rows, Quantized)


_SAME = (_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default)
_TURNING: dict[Any, tuple[Any, ...]] = {
    _aten.t.default: ((),),
    _aten.transpose.int: ((0, 1), (1, 0), (-1, -2), (-2, -1)),
    _aten.permute.default: (([1, 0],),),
}
"""Calls that turn a matrix, with the arguments for which they do."""
_PRODUCTS: dict[Any, Any] = {
    _aten.mm.default: lambda rows, weight: weight.times(rows),
    _aten.addmm.default: lambda plus, rows, weight, *, beta=1, alpha=1: (
        plus * beta + weight.times(rows) * alpha
    ),
    _aten.addmm_.default: lambda to, rows, weight, *, beta=1, alpha=1: to.mul_(beta).add_(
        weight.times(rows), alpha=alpha
    ),
}
"""Calls whose last argument is the second matrix of a product."""


@torch.no_grad()
def quantize(
    weight_OI: Tensor, kind: Kind, *, double: bool = True, name: str = "weight"
) -> Quantized:
    """A weight in fewer bits, as bitsandbytes does it, or in FP8.

    Args:
        weight_OI: dense, fp32, bf16 or fp16; its dtype is that of the products.
        kind: "nf4" and "fp4": 4 bits, one scale for 64 weights; "int8": one scale for a row;
            "fp8": see `float8`.
        double: of 4 bits, whether the scales are held in 8 bits (arXiv:2305.14314, eq. 6).
        name: of the weight, for errors.

    Raises:
        ModelError: the weight cannot be held in FP8.
    """
    if kind == "fp8":
        parts = float8.held(name, weight_OI)
        return Quantized(parts, kind, shape=weight_OI.shape, dtype=weight_OI.dtype)
    bnb = library("quantization_bit", instead="remove it").functional
    weight_OI = weight_OI.contiguous()
    if kind == "int8":
        codes, scales, _ = bnb.int8_vectorwise_quant(weight_OI.half())
        parts = {"codes": codes, "scales": scales}
    else:
        codes, state = bnb.quantize_4bit(
            weight_OI, blocksize=64, quant_type=kind, compress_statistics=double
        )
        parts = {"codes": codes, "scales": state.absmax}
        if double:
            nested: Any = state.state2
            parts |= {"outer": nested.absmax, "table": nested.code, "offset": state.offset}
    return Quantized(parts, kind, shape=weight_OI.shape, dtype=weight_OI.dtype)


def _dense_4(weight: Quantized, shape: torch.Size) -> Tensor:
    """Blocks follow each other without regard to rows, so they are asked for as rows.

    Asked for in the shape of the weight, bitsandbytes 0.50 gives another one on the CPU (a
    quarter of its norm away) where 64 does not divide the columns.
    """
    from bitsandbytes import functional as bnb

    parts, nested = weight.parts, None
    if "outer" in parts:
        nested = bnb.QuantState(
            absmax=parts["outer"], code=parts["table"], blocksize=256, dtype=torch.float32
        )
    count = shape.numel()
    state = bnb.QuantState(
        absmax=parts["scales"],
        shape=(count // 64, 64) if count % 64 == 0 else (count, 1),
        blocksize=64,
        quant_type=weight.kind,
        dtype=weight.dtype,
        offset=parts.get("offset"),
        state2=nested,
    )
    return bnb.dequantize_4bit(parts["codes"], state).view(shape)


def _dense_8(weight: Quantized, _shape: torch.Size) -> Tensor:
    from bitsandbytes import functional as bnb

    dense: Tensor = bnb.int8_vectorwise_dequant(weight.parts["codes"], weight.parts["scales"])
    return dense.to(weight.dtype)


def _dense_float8(weight: Quantized, _shape: torch.Size) -> Tensor:
    return (weight.parts["codes"].float() * weight.parts["scales"]).to(weight.dtype)


_DENSE = {"nf4": _dense_4, "fp4": _dense_4, "int8": _dense_8, "fp8": _dense_float8}
