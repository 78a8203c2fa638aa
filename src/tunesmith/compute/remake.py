"""Tensors that a backward pass makes again in place of keeping them.

The output of a norm is a pass over its input away, and that input is kept anyway. So the norm
says on its output how to make it again, bit by bit, and a layer that needs its own input in the
backward pass keeps what that is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor


class Made(NamedTuple):
    """How a tensor was made."""

    make: Callable[..., Tensor]
    """From `of` to it; it gives rows, (T, ...)."""
    of: tuple[Tensor, ...]
    """What lives anyway until the backward pass has come by."""
    version: int
    """Of the tensor, which somebody may change in place afterwards."""


def told(made: Tensor, make: Callable[..., Tensor], *of: Tensor) -> Tensor:
    """A tensor that knows how to make it again; where no backward pass will come, as it was.

    Args:
        made: the tensor.
        make: from `of` to its rows, the same bits.
        of: tensors that are kept anyway.
    """
    if made.requires_grad:
        made._tunesmith_made = Made(make, of, made._version)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def how(x: Tensor) -> Made | None:
    """How a tensor was made; `None` where it has to be kept."""
    found: Made | None = getattr(x, "_tunesmith_made", None)
    return found if found is not None and found.version == x._version else None


def keep(rows_TI: Tensor, made: Made | None) -> tuple[tuple[Tensor, ...], Callable[..., Tensor]]:
    """(what to keep of an input, from that to the input as it was computed with).

    Args:
        rows_TI: the input as rows, in the dtype of the products.
        made: of `how`, asked for the input as it came.
    """
    if made is None:
        return (rows_TI,), _itself
    return made.of, partial(_again, made.make, rows_TI.dtype)


def _itself(rows_TI: Tensor) -> Tensor:
    return rows_TI


def _again(make: Callable[..., Tensor], dtype: torch.dtype, *of: Tensor) -> Tensor:
    return make(*of).to(dtype)
