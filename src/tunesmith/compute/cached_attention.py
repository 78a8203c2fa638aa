"""Attention of new tokens of many requests over what each request has kept, without padding.

A forward pass holds the new tokens of several requests end to end, as a batch of training holds
documents. The object that stands for the key-value cache hands each layer's keys and values to the
requests and says so here; the attention that follows reads it. What one request gets depends on
its own tokens alone, to the last bit: each is computed by itself, in shapes of its own.

Shape letters: T new tokens of all requests, L tokens of one request, N of them new, H query heads,
K key heads, E width of a head.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_GROWS = 256  # tokens; a request's tensors are made anew when they are full


class Kept:
    """Keys and values of one request in every layer."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._lengths: dict[int, int] = {}

    def add(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep what is new, (K, N, E) each; all of the layer with it, (K, L, E)."""
        old, length = self._lengths.get(layer, 0), key.shape[1]
        new = old + length
        held = self._layers.get(layer)
        if held is None or new > held[0].shape[1]:
            room = -(-max(new, 2 * old) // _GROWS) * _GROWS
            fresh = tuple(x.new_empty(x.shape[0], room, x.shape[2]) for x in (key, value))
            for made, before in zip(fresh, held or (), strict=False):
                made[:, :old] = before[:, :old]
            held = self._layers[layer] = fresh
        for made, added in zip(held, (key, value), strict=True):
            made[:, old:new] = added
        self._lengths[layer] = new
        return held[0][:, :new], held[1][:, :new]

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        self._lengths = dict.fromkeys(self._lengths, length) if length else {}

    @property
    def length(self) -> int:
        """Tokens that are kept."""
        return max(self._lengths.values(), default=0)

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        return sum(x.numel() * x.element_size() for pair in self._layers.values() for x in pair)


class Piece(NamedTuple):
    """New tokens of one request."""

    kept: Kept | None
    """`None`: places that are only filled up; what they attend to does not matter."""
    size: int


class _Told(threading.local):
    """What the cache has told since the last attention of this thread."""

    layer: tuple[list[tuple[Tensor, Tensor] | None], Sequence[Piece]] | None = None


_told = _Told()


def tell(pieces: Sequence[Piece], layer: int, key: Tensor, value: Tensor) -> None:
    """Keep a layer's new keys and values, (1, K, T, E) each, for the attention that follows."""
    found: list[tuple[Tensor, Tensor] | None] = []
    start = 0
    for kept, count in pieces:
        new = (key[0, :, start : start + count], value[0, :, start : start + count])
        found.append(None if kept is None else kept.add(layer, *new))
        start += count
    _told.layer = found, pieces


def forget() -> None:
    """Nothing is told: what was, was of a pass that did not come to its end."""
    _told.layer = None


def take() -> tuple[list[tuple[Tensor, Tensor] | None], Sequence[Piece]] | None:
    """What was told, once; `None` outside such a pass."""
    told, _told.layer = _told.layer, None
    return told


def attend(
    query: Tensor,
    told: tuple[list[tuple[Tensor, Tensor] | None], Sequence[Piece]],
    *,
    scaling: float | None,
    window: int | None,
    eager: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor] | None,
) -> Tensor:
    """Attention of every request's new tokens over its own.

    Args:
        query: (1, H, T, E).
        told: see `take`.
        scaling: factor on the scores; E ** -0.5 when not given.
        window: a token sees itself and this many less one before it.
        eager: (1, H, N, E), keys and values (1, K, L, E), mask (N, L) to (1, N, H, E), for what no
            kernel has; `None`: torch's.

    Returns:
        (1, T, H, E).
    """
    parts: list[Tensor] = []
    start = 0
    for held, (_, count) in zip(*told, strict=True):
        q = query[:, :, start : start + count]
        start += count
        if held is None:
            parts.append(q.new_zeros(1, count, q.shape[1], query.shape[3]))
            continue
        key, value = held
        if count == 1 and window is not None:
            key, value = key[:, -window:], value[:, -window:]
        length = key.shape[1]
        mask = None if count == 1 else _mask(count, length, window, q.device)
        if eager is not None:
            parts.append(eager(q, key[None], value[None], mask))
            continue
        causal = mask is not None and count == length and (window is None or length <= window)
        out = scaled_dot_product_attention(
            q,
            key[None],
            value[None],
            None if causal else mask,
            is_causal=causal,
            scale=scaling,
            enable_gqa=q.shape[1] != key.shape[0],
        )
        parts.append(out.transpose(1, 2))
    width = max(part.shape[3] for part in parts)  # of values, which may not be that of keys
    parts = [p if p.shape[3] == width else p.new_zeros(*p.shape[:3], width) for p in parts]
    return torch.cat(parts, 1)


def _mask(count: int, length: int, window: int | None, device: torch.device) -> Tensor:
    """Which keys the last `count` of `length` tokens see, (N, L) bool."""
    mask = torch.ones(count, length, dtype=torch.bool, device=device).tril_(length - count)
    return mask if window is None else mask.triu_(length - count + 1 - window)
