"""A linear layer whose adapter starts as the principal part of its weight (PiSSA, 2404.02948).

W = (W - s · B₀ A₀) + s · B A, with B₀ A₀ the part of the largest singular values, at which B and A
start. The residual is never made: rounding it to bf16 or to four bits would change the base. It
is W that stays, and what the adapter adds to it is s · (B A - B₀ A₀), computed as

    s · ((B - B₀) A + B₀ (A - A₀)),

which is exactly 0 at the start and takes no difference of large products. Outputs and gradients
are those of the paper; the products are twice as thick.

Shape letters: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tunesmith.compute.lora import LoraLinear

_OVERSAMPLED = 8
"""Directions beyond the rank that the randomised decomposition follows; the best R are kept."""


class PissaLinear(LoraLinear):
    """A frozen linear layer and an adapter that knows where it started.

    Args:
        base: the layer; its parameters are taken over, frozen, not copied.
        rank: R.
        scaling: as of `LoraLinear`.
        dropout: as of `LoraLinear`.
        layer: as of `LoraLinear`.
    """

    def __init__(
        self, base: nn.Linear, *, rank: int, scaling: float, dropout: float = 0.0, layer: int = 0
    ) -> None:
        super().__init__(base, rank=rank, scaling=scaling, dropout=dropout, layer=layer)
        self.first_A: Tensor
        self.first_B: Tensor
        self.register_buffer("first_A", torch.zeros_like(self.lora_A.detach()), persistent=False)
        self.register_buffer("first_B", torch.zeros_like(self.lora_B.detach()), persistent=False)

    @torch.no_grad()
    def start(self, a_RI: Tensor, b_OR: Tensor) -> None:
        """Set where A and B start, and put them there."""
        for first, learned, value in (
            (self.first_A, self.lora_A, a_RI),
            (self.first_B, self.lora_B, b_OR),
        ):
            first.copy_(value)
            learned.copy_(value)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """(2R, I) and (O, 2R), whose product is B A - B₀ A₀."""
        a = torch.cat([self.lora_A, self.lora_A - self.first_A])
        return a, torch.cat([self.lora_B - self.first_B, self.first_B], 1)


def principal(
    weight_OI: Tensor, *, rank: int, scaling: float, iterations: int, seed: int
) -> tuple[Tensor, Tensor]:
    """A and B with s · B A = the part of a weight with the largest singular values.

    Args:
        weight_OI: of any floating dtype; it is decomposed in fp32.
        rank: R, at most min(O, I).
        scaling: s.
        iterations: of the randomised decomposition (Halko et al., arXiv:0909.4061, algorithm
            4.4); -1: a full one.
        seed: of its first guess.

    Returns:
        (R, I) and (O, R), f32.
    """
    weight = weight_OI.detach().float()
    if iterations < 0:
        u, values, v = torch.linalg.svd(weight, full_matrices=False)
    else:
        draw = torch.Generator().manual_seed(seed)
        width = min(rank + _OVERSAMPLED, *weight.shape)
        guess = torch.randn(weight.shape[1], width, generator=draw).to(weight.device)
        basis = torch.linalg.qr(weight @ guess).Q
        for _ in range(iterations):
            basis = torch.linalg.qr(weight.T @ basis).Q
            basis = torch.linalg.qr(weight @ basis).Q
        u, values, v = torch.linalg.svd(basis.T @ weight, full_matrices=False)
        u = basis @ u
    root = (values[:rank] / scaling).sqrt()
    return root[:, None] * v[:rank], u[:, :rank] * root
