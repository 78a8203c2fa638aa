"""Supervised fine-tuning: the trained tokens of an answer become more probable.

What it learns: to continue a prompt as the data does. Loss: the sum of −log p(token | everything
before it in its document) over the trained tokens, in nats; the loop divides it once per optimizer
step by the number of trained tokens in the whole step, so that no split changes it. Metrics:
`correct`, the number of trained tokens that were the most probable ones, where asked for.

Shape letters: P trained positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute import routing
from tunesmith.compute.score import score
from tunesmith.types import Batch, Loss


def sft_loss(logprob_P: Tensor, correct_P: Tensor | None = None) -> Loss:
    """Negative log-likelihood of the trained tokens.

    Args:
        logprob_P: natural log-probability of each trained token, (P,) f32.
        correct_P: whether it was the most probable one, (P,) bool.

    Returns:
        `Loss` with weight = P. A uniform model over V words costs ln V a token; no trained token
        costs exactly 0.
    """
    weight = torch.tensor(float(len(logprob_P)), device=logprob_P.device)
    metrics = {} if correct_P is None else {"correct": correct_P.sum().float()}
    return Loss(-logprob_P.sum(), weight, metrics)


def loss_of(
    *, chunk_tokens: int | None = None, want_correct: bool = False, balance: float = 0.0
) -> Callable[[Any, Batch], Loss]:
    """The stage as the loop takes it: from a model and a batch to a `Loss`.

    Args:
        chunk_tokens: as in `compute.score.score`.
        want_correct: whether the metric `correct` is computed.
        balance: `moe_aux_loss_coef`, the weight of the routers' imbalance beside the loss of a
            trained token.
    """

    def loss(model: Any, batch: Batch) -> Loss:
        with routing.hearing(model) as heard:
            said = score(model, batch, chunk_tokens=chunk_tokens, want_correct=want_correct)
        found = sft_loss(said.logprob_P, said.correct_P)
        return found if heard is None else _routed(found, heard.choices(), batch, balance)

    return loss


def _routed(loss: Loss, choices: Sequence[routing.Choice], batch: Batch, balance: float) -> Loss:
    """A loss with what the routers chose, and with their imbalance to be made small."""
    found = routing.routing(choices, batch)
    metrics = {
        "aux_loss": found.aux.detach(),
        "router_entropy": found.entropy,
        "router_load": found.load_LE,
        "router_dropped": found.dropped,
        "router_tokens": found.tokens,
    }
    penalty = balance * found.aux if balance else None
    return loss._replace(metrics={**loss.metrics, **metrics}, penalty=penalty)
