"""Floating-point operations of training: the formula, in one place.

With N_b parameters in the products of the layers, N_h in the head, D the width of all query heads,
documents of L tokens and s the share of trained tokens:

    forward            2 N_b            + 2 layers D L      per token (attention: half of L sees)
    toward the inputs  2 N_b            + 4 layers D L
    toward weights     2 N_b  where the model's own weights are trained
    head               4 s N_h, or 6 s N_h where it is trained itself
    recomputed layers  their forward once more
    layers below the lowest that learns: the forward alone
    experts            those that a token goes through; the others are not in N_b
    windows of W       2 W L - W² in place of L² of each document that is longer
    media              what towers and projectors do with each, counted on their code (`sights.py`)

LoRA's own thin products are left out: 1 to 2 % at rank 16.
"""

from __future__ import annotations

from typing import NamedTuple


class Flops(NamedTuple):
    """Operations by where they are spent."""

    layers: float
    attention: float
    head: float
    recompute: float
    media: float = 0.0
    """Of towers and projectors."""

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


def flops(
    *,
    tokens: float,
    squares: float,
    trained_tokens: float,
    body: int,
    attention_width: float,
    head: int,
    own_weights: bool,
    recompute: float,
    own_head: bool = False,
    reached: float = 1.0,
) -> Flops:
    """Operations of training.

    Args:
        tokens: all tokens of the run.
        squares: squared lengths of all documents, added up.
        trained_tokens: those with loss.
        body: parameters in products without embedding and head.
        attention_width: layers times the width of all query heads, windowed ones by what they see.
        head: parameters of the head.
        own_weights: whether the model's own weights are trained.
        recompute: share of the layers that is computed twice, 0 to 1.
        own_head: whether the head is trained.
        reached: share of the layers that a gradient reaches, from the top.
    """
    backward = (2 if own_weights else 1) * reached
    attention = 2.0 * attention_width * squares  # of the forward pass
    return Flops(
        layers=2.0 * (1 + backward) * body * tokens,
        attention=(1 + 2 * reached) * attention,
        head=(6.0 if own_head else 4.0) * head * trained_tokens,
        recompute=recompute * (2.0 * body * tokens + attention),
    )
