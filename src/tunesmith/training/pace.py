"""How long training steps take: work counted from the data, speeds measured or from a table.

The work of a run is known before it (tokens, documents, trained tokens, optimizer steps). How fast
a device does it is either measured, on one layer of the very model (`trial.py`), or for a device
that is elsewhere taken from its data sheet with a named share of the peak that training reaches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from tunesmith.models.facts import Facts
from tunesmith.training.devices import Device

SHARE_OF_PEAK = 0.5
"""Share of the peak that the products of training reach on a GPU of the table. With it an 8 B
model under LoRA comes to 12,500 tokens/s on an H100; published: 12,473 (NVIDIA NeMo-Automodel,
performance summary). Not measured here yet."""
_ATTENTION_OF_PRODUCTS = 0.7
"""Speed of attention kernels against that of plain products."""
_LAUNCHES, _LAUNCH_SECONDS = 90, 4e-6
"""Kernels of one layer in a training pass, and what starting one takes."""


class Work(NamedTuple):
    """What the training steps of a run compute."""

    steps: float
    batches: float
    """Micro-batches."""
    tokens: float
    squares: float
    """Squared lengths of the documents, added up: what attention grows with."""
    trained_tokens: float

    def times(self, factor: float) -> Work:
        """So many times as much of everything."""
        return Work(*(factor * part for part in self))


class Pace(NamedTuple):
    """Seconds for each part of the work."""

    per_step: float
    """Laying out, clipping, the optimizer."""
    per_batch: float
    """A forward and a backward pass of almost nothing."""
    per_token: float
    per_square: float
    per_trained_token: float
    """Of the head."""
    forward: float
    """Share of the body's passes that the forward pass takes; recomputing does it twice."""
    source: str
    """How these are known, for the reader of a plan."""

    def seconds(self, work: Work, *, recompute: float = 0.0, reached: float = 1.0) -> float:
        """Time in training steps.

        Args:
            work: of the run.
            recompute: share of the layers that is computed twice, 0 to 1.
            reached: share of the layers that a gradient reaches; the others run forward alone.
        """
        passes = reached + (1 - reached) * self.forward + recompute * self.forward
        body = (
            work.batches * self.per_batch
            + work.tokens * self.per_token
            + work.squares * self.per_square
        )
        return (
            work.steps * self.per_step
            + body * passes
            + work.trained_tokens * self.per_trained_token
        )


class Cost(NamedTuple):
    """What one token costs in floating-point operations, see `flops.py`."""

    body: float
    square: float
    head: float


def of_table(
    device: Device, known: Facts, cost: Cost, *, dtype: torch.dtype, trained_bytes: int
) -> Pace:
    """The pace on a device that is not here: products, memory traffic and kernel starts.

    Args:
        device: of the table.
        known: the model's facts.
        cost: operations without recomputation.
        dtype: of the products.
        trained_bytes: of trained weights, gradients and optimizer state.
    """
    speed, bandwidth = device.peak(dtype) * SHARE_OF_PEAK, device.bandwidth * 1e9
    width = known.intermediate or 4 * known.hidden
    moved = 30 * known.hidden + 14 * width + 8 * known.kv_heads * known.head_dim
    return Pace(
        per_step=3 * trained_bytes / bandwidth + 1e-3,
        per_batch=known.layers * _LAUNCHES * _LAUNCH_SECONDS,
        per_token=cost.body / speed + known.layers * moved * dtype.itemsize / bandwidth,
        per_square=cost.square / (speed * _ATTENTION_OF_PRODUCTS),
        per_trained_token=cost.head / speed,
        forward=1 / 3,
        source=f"{100 * SHARE_OF_PEAK:.0f} % of the {device.peak(dtype) / 1e12:,.0f} TFLOP/s of "
        f"the {device.title} (data sheet; not measured here)",
    )
