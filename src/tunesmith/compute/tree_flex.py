"""Attention over rows that share their beginnings, on a GPU: one call of torch's flex_attention.

In depth-first order a token sees those before it whose segment it descends from, which are those
whose segment's last descendant ends behind it: two comparisons, from which flex_attention makes a
mask of blocks, once per batch and not per layer.

Shape letters: T tokens, H query heads, K key heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute.tree_attention import Tree, paths


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether flex_attention and the compiler that makes its kernels are there."""
    there = find_spec("torch.nn.attention.flex_attention") is not None
    return there and find_spec("triton") is not None and torch.cuda.is_available()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    tree: Tree,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Causal attention of each token to its own row.

    Args:
        query: (1, H, T, E); key and value (1, K, T, E).
        key: see query.
        value: see query.
        tree: of the batch.
        scaling: factor on the scores; E ** -0.5 when not given.
        window: a token sees itself and this many less one before it.
        softcap: cap of the scores.

    Returns:
        (1, T, H, E) in the query's dtype.
    """
    out = _kernel(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else _cap(softcap),
        block_mask=_blocks(tree, window, query.device),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2)


@lru_cache(maxsize=2)
def _kernel(device: str) -> Callable[..., Any]:
    """Compiled on a GPU; elsewhere plain, which only the tests of the mask use."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


@lru_cache(maxsize=8)
def _cap(softcap: float) -> Callable[..., Tensor]:
    def score_mod(score: Tensor, _b: Tensor, _h: Tensor, _q: Tensor, _k: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    return score_mod


@lru_cache(maxsize=8)
def _blocks(tree: Tree, window: int | None, device: torch.device) -> Any:
    """Which blocks of keys a block of queries sees."""
    from torch.nn.attention.flex_attention import create_block_mask

    sizes = torch.tensor(tree.offsets).diff()
    spans = list(pairwise(tree.offsets))
    depths = [sum(spans[i][1] - spans[i][0] for i in path) for path in paths(tree)]
    moved = torch.tensor(depths) - torch.tensor(tree.offsets[:-1])
    length = tree.offsets[-1]
    until_T = torch.tensor(tree.until).repeat_interleave(sizes).to(device)
    places_T = (torch.arange(length) + moved.repeat_interleave(sizes)).to(device)

    def seen(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        below = (k <= q) & (q < until_T[k])
        return below if window is None else below & (places_T[q] - places_T[k] < window)

    return create_block_mask(seen, None, None, length, length, device=str(device))
