"""Dropout drawn from counters, not from history.

Whether a number is dropped is a hash of (seed, step, row, position in the document, layer,
feature). It depends neither on how rows fell into micro-batches, nor on what was drawn before, so
that recomputation, resumption and another layout give the same mask.

Shape letters: T tokens, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunesmith.errors import ModelError, TrainError
from tunesmith.types import Batch


class Draw(NamedTuple):
    """What the masks of one forward pass are drawn from."""

    seed: int
    step: int
    tokens_T: Tensor | None = None
    """A number for each token, from its row and its position, (T,) int32."""


class _Now:
    """The draw in force. Plain, not per thread: CUDA's backward recomputes in another thread."""

    draw: Draw | None = None


def seek(*, seed: int, step: int) -> None:
    """Say which optimizer step comes; without it, dropout is refused."""
    _Now.draw = Draw(seed, step)


@contextmanager
def here(*, seed: int, step: int) -> Iterator[None]:
    """As `seek`, and as if nothing had been drawn afterwards."""
    before = _Now.draw
    seek(seed=seed, step=step)
    try:
        yield
    finally:
        _Now.draw = before


def refuse_other(model: nn.Module, where: str) -> None:
    """A model's own dropout draws from history: its run could not be gone on with bit for bit.

    Args:
        model: before an adapter is put on it; its weights are not looked at.
        where: its config file.

    Raises:
        ModelError: a layer of the model would drop something in training.
    """
    for name, module in model.named_modules():
        chances = [("dropout", v) for key, v in vars(module).items() if "drop" in key]
        chances += [(key, v) for key, v in vars(module).items() if "jitter" in key]
        chances += [("dropout", module.p)] if isinstance(module, nn.Dropout) else []
        found = [(kind, p) for kind, p in chances if isinstance(p, float) and p > 0]
        if found:
            kind, p = found[0]
            raise ModelError(
                where, got=f"{kind} of {p:g} in {name}",
                need=f"no {kind} of the model's own: it would depend on what was drawn before",
                hint=f"set every {kind} in that file to 0; lora_dropout is there",
            )  # fmt: skip


@contextmanager
def tokens(batch: Batch) -> Iterator[None]:
    """Within it, masks are those of the batch's rows.

    Does nothing where `seek` was never called. A token that several rows share has no mask of its
    own: dropout is refused then.
    """
    before = _Now.draw
    if before is not None and not batch.until:
        _Now.draw = before._replace(tokens_T=_token_numbers(batch))
    try:
        yield
    finally:
        _Now.draw = before


@contextmanager
def only(index: slice | Tensor) -> Iterator[None]:
    """Within `tokens`: a layer sees only these tokens of the batch."""
    before = _Now.draw
    if before is not None and before.tokens_T is not None:
        _Now.draw = before._replace(tokens_T=before.tokens_T[index])
    try:
        yield
    finally:
        _Now.draw = before


@contextmanager
def aside() -> Iterator[None]:
    """Within it another step may be said; after it the one of before is in force."""
    with _restored(_Now.draw):
        yield


def recompute_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """`context_fn` for `torch.utils.checkpoint`: the second forward draws what the first drew."""
    draw = _Now.draw
    return nullcontext(), _restored(draw)


@contextmanager
def _restored(draw: Draw | None) -> Iterator[None]:
    before, _Now.draw = _Now.draw, draw
    try:
        yield
    finally:
        _Now.draw = before


def enable_checkpointing(model: Any, count: int | None = None) -> int:
    """Recompute layers in the backward pass instead of keeping their activations.

    Args:
        model: a transformers model.
        count: how many of its text model's layers, from the first; all of them when not given, 0
            for none. The first, since what they leave behind is held longest. With any, those of
            towers too. Results do not depend on it.

    Returns:
        How many layers of the text model are recomputed.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer as Layer

    again = partial(checkpoint, use_reentrant=False, context_fn=recompute_contexts)
    layers = [module for module in model.get_decoder().modules() if isinstance(module, Layer)]
    wanted = len(layers) if count is None else min(count, len(layers))
    place = {id(layer): number for number, layer in enumerate(layers)}
    for layer in model.modules():
        if isinstance(layer, Layer):
            layer.gradient_checkpointing = place.get(id(layer), 0) < wanted  # a tower's: with any
            layer._gradient_checkpointing_func = again
    return wanted


def current(layer: int) -> Draw:
    """The draw of one layer, its seed mixed with the layer's number.

    Raises:
        TrainError: nobody said which step this is.
    """
    draw = _Now.draw
    if draw is None or draw.tokens_T is None:
        raise TrainError(
            "dropout",
            got="no step",
            need="chance.seek(seed=..., step=...) before the step; else every step drops the same",
        )
    mixed = number("dropout", draw.seed, draw.step, layer)
    return Draw(mixed, draw.step, draw.tokens_T)


def keep(draw: Draw, features: int, *, dropout: float) -> Tensor:
    """Which numbers stay: (T, F) bool, each False with chance `dropout`.

    Args:
        draw: of `current`.
        features: F.
        dropout: in [0, 1).
    """
    assert draw.tokens_T is not None, "current() gives a draw with tokens"
    device = draw.tokens_T.device
    columns_F = torch.arange(features, dtype=torch.int32, device=device).mul_(_signed(0x9E3779B1))
    columns_F = _mix(columns_F ^ _signed(draw.seed & 0xFFFFFFFF))
    mixed = _mix(draw.tokens_T[:, None] ^ columns_F)
    limit = int(dropout * 2**32) - 2**31
    return mixed >= limit


def number(*key: object) -> int:
    """A number of 32 bits from a key, the same on every machine."""
    text = "\x1f".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def _token_numbers(batch: Batch) -> Tensor:
    sizes = torch.tensor(batch.offsets).diff()
    rows = batch.rows or range(len(sizes))
    rows_D = torch.tensor(rows, dtype=torch.int64)
    rows_T = rows_D.repeat_interleave(sizes).to(batch.positions_T.device)
    rows_T = _mix((rows_T & 0x7FFFFFFF).to(torch.int32).mul_(_signed(0x85EBCA6B)))
    return _mix(rows_T ^ batch.positions_T.to(torch.int32).mul_(_signed(0xC2B2AE35)))


def _mix(x: Tensor) -> Tensor:
    """Every bit of an int32 to every other: two rounds of xor-shift and multiply.

    Shifts are logical: the bits that an arithmetic shift would copy in are masked out.
    """
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * _signed(0x7FEB352D)
    x ^= (x >> 15) & 0x1FFFF
    x *= _signed(0x846CA68B)
    x ^= (x >> 16) & 0xFFFF
    return x


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value
