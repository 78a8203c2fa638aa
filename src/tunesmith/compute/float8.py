"""Products with frozen weights in FP8 (e4m3): the weight rounded once, inputs on their way in.

Every row of both matrices has a scale of its own, which takes its largest number to 448, the
largest of e4m3 (arXiv:2209.05433). y = x Wᵀ sums over the columns of W and dx = dy W over its
rows, so W is rounded twice, once turned: together the memory of bf16, at twice the speed of its
products on GPUs with FP8 (compute capability 8.9 and later). Results are in bf16.

Shape letters: M rows of the input, K what is summed over, N outputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from tunesmith.errors import ConfigError, ModelError

KEY = "quantization_method"
LARGEST = 448.0
_CODES = torch.float8_e4m3fn
_MULTIPLE = 16
"""Of K and N, in the kernels of GPUs."""
_CAPABILITY = (8, 9)
_MOST_ERROR = 0.05
"""Of a weight's numbers, relative, on average: three bits of mantissa leave 0.02."""


def check(
    device: torch.device,
    dtype: torch.dtype,
    *,
    elsewhere: tuple[str, tuple[int, int]] | None = None,
) -> None:
    """Refuse to begin where there are no such products.

    Args:
        device: that computes.
        dtype: of the other products.
        elsewhere: name and compute capability of a GPU that is not here.

    Raises:
        ConfigError: the GPU has none, or the run is not in bf16.
    """
    if elsewhere is None and device.type == "cuda":
        have = torch.cuda.get_device_capability(device)
        elsewhere = torch.cuda.get_device_name(device), have
    if elsewhere is not None and elsewhere[1] < _CAPABILITY:
        raise ConfigError(
            KEY,
            got=f"fp8, on {elsewhere[0]}",
            need="a GPU with FP8 products (compute capability 8.9 or later: Ada, Hopper)",
            hint="quantization_method: bnb, or remove quantization_bit",
        )
    if dtype != torch.bfloat16:
        raise ConfigError(
            KEY, got=f"fp8, with products in {str(dtype).removeprefix('torch.')}",
            need="bf16, in which FP8 products give their results", hint="bf16: true",
        )  # fmt: skip


def rounded(rows_MK: Tensor) -> tuple[Tensor, Tensor]:
    """(codes (M, K) e4m3, scales (M, 1) f32): codes * scales is nearest to what was given."""
    wide = rows_MK.float()
    scales = (wide.abs().amax(1, keepdim=True) / LARGEST).clamp_(min=torch.finfo(wide.dtype).tiny)
    return (wide / scales).to(_CODES), scales


def held(name: str, weight_NK: Tensor) -> dict[str, Tensor]:
    """A weight as codes by rows and, turned, by columns.

    Args:
        name: for the error.
        weight_NK: dense.

    Raises:
        ModelError: rounding would change it too much, or no kernel takes its sizes.
    """
    if any(size % _MULTIPLE for size in weight_NK.shape):
        raise ModelError(
            name, got=f"{tuple(weight_NK.shape)}", need=f"sizes that are multiples of {_MULTIPLE}",
            hint="quantization_method: bnb, or remove quantization_bit",
        )  # fmt: skip
    codes, scales = rounded(weight_NK)
    turned, turned_scales = rounded(weight_NK.T.contiguous())
    wide_NK = weight_NK.float()
    for got_NK in (codes.float() * scales, (turned.float() * turned_scales).T):
        each = ((got_NK - wide_NK).abs() / wide_NK.abs())[wide_NK != 0]
        error = float(each.mean()) if len(each) else 0.0
        if not error <= _MOST_ERROR:
            raise ModelError(
                name, got=f"a weight that FP8 changes by {100 * error:.1f} %",
                need=f"at most {100 * _MOST_ERROR:.0f} % a number; its rows reach too far",
                hint="quantization_method: bnb, or remove quantization_bit",
            )  # fmt: skip
    return {
        "codes": codes,
        "scales": scales,
        "turned_codes": turned,
        "turned_scales": turned_scales,
    }


def product(rows_MK: Tensor, codes_NK: Tensor, scales_N1: Tensor) -> Tensor:
    """Rows times the transpose of what the codes stand for: (M, N) in the dtype of the rows."""
    if not len(rows_MK):
        return rows_MK.new_zeros(0, len(codes_NK))
    own, scales_M1 = rounded(rows_MK)
    out = torch._scaled_mm(
        own, codes_NK.T, scale_a=scales_M1, scale_b=scales_N1.T, out_dtype=torch.bfloat16
    )
    return out.to(rows_MK.dtype)


_dense: list[None] = []


@contextlib.contextmanager
def inputs_as_they_are() -> Iterator[None]:
    """Inside, products round the weight alone: what the accuracy check compares with."""
    _dense.append(None)
    try:
        yield
    finally:
        _dense.pop()


def rounds_inputs() -> bool:
    """Whether products are in FP8 now."""
    return not _dense
