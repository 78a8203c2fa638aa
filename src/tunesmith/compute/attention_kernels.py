"""Which attention kernels `flash_attn` names, and whether one that is asked for is there.

    auto        the fastest that is here for the model, the device and the precision
    sdpa        torch's scaled_dot_product_attention, on any device
    fa2         FlashAttention 2 (arXiv:2307.08691): CUDA from 8.0 on, bf16 and fp16
    fa3         FlashAttention 3 (arXiv:2407.08608): Hopper (CUDA 9.0), bf16 and fp16
    disabled    plain matrix products and a softmax: slow, for comparisons

Every one of them keeps documents apart. One that is asked for is used or refused, never replaced.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch

from tunesmith.errors import ConfigError

Kernel = Literal["auto", "disabled", "sdpa", "fa2", "fa3"]


class _Flash(NamedTuple):
    module: str
    """That brings it."""
    install: str
    capability: tuple[int, int]
    only: bool
    """Whether it is for this capability alone, not for later ones."""


FLASH = {
    "fa2": _Flash("flash_attn", "pip install flash-attn --no-build-isolation", (8, 0), False),
    "fa3": _Flash(
        "flash_attn_interface",
        "git clone https://github.com/Dao-AILab/flash-attention && cd flash-attention/hopper "
        "&& python setup.py install",
        (9, 0),
        True,
    ),
}
_WIDEST_HEAD = 256

NAMES: dict[str, str] = {
    "auto": "",
    "sdpa": "torch's scaled_dot_product_attention",
    "fa2": "FlashAttention 2",
    "fa3": "FlashAttention 3",
    "disabled": "plain attention, without a fused kernel",
}
"""How the plan calls them."""


def check(
    kernel: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    capability: tuple[int, int] | None = None,
) -> None:
    """Refuse a kernel that cannot run here, before a weight is read.

    Args:
        kernel: as `flash_attn` names it.
        device: that computes.
        dtype: of the products.
        head_dim: width of a head.
        capability: of a GPU that is elsewhere, where libraries need not be installed here.

    Raises:
        ConfigError: it is not there, or not for this device, precision or model.
    """
    flash = FLASH.get(kernel)
    if flash is None:
        return
    there = "" if capability else f"; what is here: {', '.join(available(device))}"
    if device.type != "cuda":
        raise _refusal(kernel, f"a CUDA device; this run is on {device.type}{there}")
    have = capability or torch.cuda.get_device_capability(device)
    if have < flash.capability or (flash.only and have[0] != flash.capability[0]):
        wanted = ".".join(map(str, flash.capability)) + ("" if flash.only else " or more")
        found = ".".join(map(str, have))
        raise _refusal(kernel, f"a GPU of compute capability {wanted}; this is {found}{there}")
    if capability is None and find_spec(flash.module) is None:
        hint = f"{flash.install}; or flash_attn: auto"
        raise _refusal(kernel, f"{NAMES[kernel]}, which is not installed{there}", hint)
    if dtype not in (torch.bfloat16, torch.float16):
        raise _refusal(kernel, "bf16 or fp16; this run computes in fp32", "bf16: true")
    if head_dim > _WIDEST_HEAD:
        raise _refusal(kernel, f"heads of at most {_WIDEST_HEAD}; this model has {head_dim}")


def available(device: torch.device) -> list[str]:
    """The kernels that a run on this device can ask for."""
    found = ["auto", "sdpa", "disabled"]
    if device.type != "cuda":
        return found
    have = torch.cuda.get_device_capability(device)
    for name, flash in FLASH.items():
        fits = have[0] == flash.capability[0] if flash.only else have >= flash.capability
        if fits and find_spec(flash.module) is not None:
            found.append(name)
    return found


def _refusal(kernel: str, need: str, hint: str = "flash_attn: auto") -> ConfigError:
    return ConfigError("flash_attn", got=kernel, need=need, hint=hint)
