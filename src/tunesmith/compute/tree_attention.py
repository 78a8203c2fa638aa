"""Attention over rows that share their beginnings: a shared segment is computed once, exactly.

The segments of a tree are laid end to end in depth-first order, so what sees a segment besides
itself, its descendants, is one stretch right behind it. On a processor a segment is attended to
causally by itself and in full by that stretch: two calls of torch's flash kernel, merged by the
logarithm of the sum of exponents that it returns. The backward pass needs no merging: given the
final output and the final sum, the kernel's gradients toward some of the keys are the exact
share of these keys (arXiv:2205.14135, algorithm 4). Keys that are gathered for each segment, behind
a mask, take as long in the kernel and are copies beside it (docs/log.md).

Windows that are too narrow, caps and sinks: each segment with its ancestors' keys, and a mask.

Shape letters: T tokens, S segments, L tokens of a segment, A tokens of its ancestors, H query
heads, K key heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

_FP32_BELOW = 640
"""Queries or keys of a call up to which its backward pass of bf16 and fp16 runs in fp32."""
_ROWS = 2

Runs = tuple[tuple[int, int], ...]
Masked = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Tree(NamedTuple):
    """Where segments stand and how far each is seen."""

    offsets: tuple[int, ...]
    """Start of every segment and the end of the last, S + 1 numbers from 0 to T."""
    until: tuple[int, ...]
    """End of the last descendant of every segment; of one without any, its own end. (S,)"""


def tree_mask(tree: Tree) -> Tensor:
    """The attention mask that says how rows share segments: (1, 1, 2, S + 1) int32, on the CPU."""
    rows = (tree.offsets, (*tree.until, tree.offsets[-1]))
    return torch.tensor(rows, dtype=torch.int32).view(1, 1, _ROWS, -1)


def read(mask: Tensor) -> Tree | None:
    """The tree that a mask stands for; `None`: documents without anything in common."""
    if mask.shape[2] != _ROWS:
        return None
    offsets, until = mask.view(_ROWS, -1).tolist()
    return Tree(tuple(offsets), tuple(until[:-1]))


@lru_cache(maxsize=64)
def paths(tree: Tree) -> tuple[tuple[int, ...], ...]:
    """The ancestors of every segment, from the root.

    >>> paths(Tree((0, 4, 6, 9), (9, 6, 9)))
    ((), (0,), (0,))
    """
    found, above = [], []
    for segment, start in enumerate(tree.offsets[:-1]):
        while above and tree.until[above[-1]] <= start:
            above.pop()
        found.append(tuple(above))
        above.append(segment)
    return tuple(found)


@lru_cache(maxsize=64)
def longest(tree: Tree) -> int:
    """Tokens of the longest row."""
    sizes = [end - start for start, end in pairwise(tree.offsets)]
    return max(sum(sizes[i] for i in (*path, own)) for own, path in enumerate(paths(tree)))


def by_merging(
    query: Tensor, key: Tensor, value: Tensor, *, tree: Tree, runs: Runs, scaling: float | None
) -> Tensor:
    """Plain attention on the CPU, where every row is within the window.

    Args:
        query: (1, H, T, E); key and value (1, K, T, E).
        key: see query.
        value: see query.
        tree: of the batch.
        runs: neighbouring segments of one length, as (how many, tokens each).
        scaling: factor on the scores; E ** -0.5 when not given.

    Returns:
        (1, T, H, E) in the query's dtype.
    """
    return _Merged.apply(query, key, value, tree, runs, scaling)


def by_segment(
    query: Tensor, key: Tensor, value: Tensor, *, tree: Tree, window: int | None, masked: Masked
) -> Tensor:
    """Any attention that can be computed behind a mask, on any device.

    Args:
        query: (1, H, T, E); key and value (1, K, T, E).
        key: see query.
        value: see query.
        tree: of the batch.
        window: a token sees itself and this many less one before it.
        masked: attention of one segment: (1, H, L, E), twice (1, K, A + L, E) and which key a
            query sees, (L, A + L) bool, to (1, L, H, E).

    Returns:
        (1, T, H, E) in the query's dtype.
    """
    spans, parts = [slice(*ends) for ends in pairwise(tree.offsets)], []
    for own, path in zip(spans, paths(tree), strict=True):
        seen = [*(spans[i] for i in path), own]
        k, v = (torch.cat([x[:, :, part] for part in seen], 2) for x in (key, value))
        mask = _seen(own.stop - own.start, k.shape[2], window, query.device)
        parts.append(masked(query[:, :, own], k, v, mask))
    return torch.cat(parts, 1)


@lru_cache(maxsize=64)
def _seen(length: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """The last `length` rows of a causal mask over `keys` tokens."""
    before = keys - length
    mask = torch.ones(length, keys, dtype=torch.bool, device=device).tril_(before)
    return mask if window is None else mask.triu_(before + 1 - window)


def _forward() -> Any:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


def _backward() -> Any:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def _fold(x: Tensor, start: int, run: tuple[int, int]) -> Tensor:
    """The segments of a run as a batch: (1, heads, T, ...) to a view (N, heads, L, ...)."""
    count, length = run
    return x[0, :, start : start + count * length].unflatten(1, run).transpose(0, 1)


def _like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Uninitialised (1, heads, T, E) whose memory is in the order T, heads, E."""
    shape = (1, x.shape[2], x.shape[1], x.shape[3])
    return torch.empty(shape, dtype=dtype, device=x.device).transpose(1, 2)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What sums over several calls are kept in."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def _crossings(tree: Tree) -> list[tuple[slice, slice]]:
    """(descendants, segment) of every segment that has descendants."""
    return [
        (slice(end, until), slice(start, end))
        for (start, end), until in zip(pairwise(tree.offsets), tree.until, strict=True)
        if until > end
    ]


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (autograd calls it so)
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        tree: Tree,
        runs: Runs,
        scaling: float | None,
    ) -> Tensor:
        sums, start = _like(query, _exact(query.dtype)), 0
        norms = sums.new_empty(1, query.shape[2], query.shape[1]).transpose(1, 2)
        for run in runs:
            folded = (_fold(x, start, run) for x in (query, key, value))
            part, norm = _forward()(*folded, 0.0, True, scale=scaling)
            _fold(sums, start, run).copy_(part)
            _fold(norms, start, run).copy_(norm)
            start += run[0] * run[1]
        for below, above in _crossings(tree):
            asked = (query[:, :, below], key[:, :, above], value[:, :, above])
            part, norm = _forward()(*asked, 0.0, False, scale=scaling)
            both = torch.logaddexp(norms[:, :, below], norm)
            share = (norm - both).exp_()[..., None]
            sums[:, :, below].lerp_(part.to(sums.dtype), share)
            norms[:, :, below] = both
        out = sums.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, norms)
        ctx.tree, ctx.runs, ctx.scaling = tree, runs, scaling
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, norms = ctx.saved_tensors
        grad, start = grad.transpose(1, 2), 0
        toward = [_like(x, _exact(x.dtype)) for x in (query, key, value)]
        for run in ctx.runs:
            given = [_fold(x, start, run) for x in (grad, query, key, value, out, norms)]
            for total, part in zip(toward, _slopes(given, True, ctx.scaling), strict=True):
                _fold(total, start, run).copy_(part)
            start += run[0] * run[1]
        for below, above in _crossings(ctx.tree):
            places = (below, below, above, above, below, below)
            whole = (grad, query, key, value, out, norms)
            given = [x[:, :, place] for x, place in zip(whole, places, strict=True)]
            parts = _slopes(given, False, ctx.scaling)
            for total, part, place in zip(toward, parts, (below, above, above), strict=True):
                total[:, :, place] += part
        return *(x.to(query.dtype) for x in toward), None, None, None


def _slopes(given: list[Tensor], causal: bool, scaling: float | None) -> tuple[Tensor, ...]:
    """Gradients of one call, given the final output and the final sums."""
    *given, norm = given
    if min(given[1].shape[2], given[2].shape[2]) <= _FP32_BELOW:
        given = [x.to(_exact(x.dtype)) for x in given]
    return _backward()(*given, norm, 0.0, causal, scale=scaling)
