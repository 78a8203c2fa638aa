"""Variable-length attention on CUDA: FlashAttention if it is installed, else torch's own kernel.

Shape letters: T tokens, D documents, H query heads, K key heads, E head width.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tunesmith.compute.attention_kernels import FLASH

_ASKED = {name: flash.module for name, flash in FLASH.items()}


def kernel() -> str:
    """Which kernel runs on CUDA: "flash_attn", "torch_varlen" or "sdpa" (per document)."""
    if find_spec("flash_attn") is not None:
        return "flash_attn"
    return "torch_varlen" if find_spec("torch.nn.attention.varlen") is not None else "sdpa"


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    offsets: tuple[int, ...],
    scaling: float | None,
    window: int | None,
    asked: str = "auto",
) -> Tensor:
    """Causal attention within each document.

    Args:
        query: (1, H, T, E) on a CUDA device; key and value (1, K, T, E).
        key: see query.
        value: see query.
        offsets: starts of the documents and the end of the last.
        scaling: factor on the scores; E ** -0.5 when not given.
        window: a token sees itself and this many less one before it.
        asked: "fa2" or "fa3", which are used or fail; "auto": what is there and fits.

    Returns:
        (1, T, H, E) in the query's dtype.
    """
    fits = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] <= 256
    name = _ASKED.get(asked) or (kernel() if fits else "sdpa")
    if name == "sdpa":
        return _per_document(query, key, value, offsets=offsets, scaling=scaling, window=window)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    starts = _starts(offsets, query.device)
    longest = max(b - a for a, b in pairwise(offsets))
    left = -1 if window is None else window - 1
    if name.startswith("flash_attn"):
        flash = import_module(name).flash_attn_varlen_func
        call: dict[str, Any] = {"softmax_scale": scaling, "causal": True, "window_size": (left, 0)}
        out = flash(q, k, v, starts, starts, longest, longest, **call)
        out = out[0] if isinstance(out, tuple) else out  # early versions of 3 add the log-sum-exp
    else:
        from torch.nn.attention.varlen import varlen_attn

        known = inspect.signature(varlen_attn).parameters
        if window is not None and longest > window and "window_size" not in known:
            return _per_document(query, key, value, offsets=offsets, scaling=scaling, window=window)
        if k.shape[1] != q.shape[1] and "enable_gqa" not in known:
            k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        call = {"scale": scaling}
        call |= {"window_size": (left, 0)} if "window_size" in known else {"is_causal": True}
        call |= {"enable_gqa": True} if "enable_gqa" in known else {}
        out = varlen_attn(q, k, v, starts, starts, longest, longest, **call)
    return out[None]


@lru_cache(maxsize=16)
def _starts(offsets: tuple[int, ...], device: torch.device) -> Tensor:
    """Copied to the device once per batch, not once per layer."""
    return torch.tensor(offsets, dtype=torch.int32, device=device)


def _per_document(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    offsets: tuple[int, ...],
    scaling: float | None,
    window: int | None,
) -> Tensor:
    sizes = [b - a for a, b in pairwise(offsets)]
    parts = []
    for q, k, v in zip(*(x.split(sizes, 2) for x in (query, key, value)), strict=True):
        length, mask = q.shape[2], None
        if window is not None and length > window:
            mask = torch.ones(length, length, dtype=torch.bool, device=q.device).tril_()
            mask = mask.triu_(1 - window)
        parts.append(
            scaled_dot_product_attention(
                q,
                k,
                v,
                mask,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        )
    return torch.cat(parts, 2).transpose(1, 2)
