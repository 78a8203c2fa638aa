"""How long training steps take: work counted from the data, speeds measured or from a table.

The work of a run is known before it (tokens, documents, trained tokens, optimizer steps). How fast
a device does it is either measured, on one layer of the very model (`trial.py`), or for a device
that is elsewhere taken from its data sheet with a named share of the peak that training reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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

_UNPACKED = {"nf4": 0.56 + 2, "fp4": 0.56 + 2, "int8": 1 + 2 + 2 + 2}
"""Bytes that move for each weight which is made dense: its code and scale in, the dense one out;
from 8 bits by way of fp16, as bitsandbytes has it."""
_STARTS = 2
"""Kernels of that."""
_ROUNDED = 31
"""Bytes that move for each number of an input that is rounded to FP8 (`compute.float8.rounded`):
to fp32 6, its size 8, the largest 4, divided 8, to codes 5."""
_FORWARD = 1 / 3
"""Of both passes, where nothing was measured."""


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


class Passes(NamedTuple):
    """Seconds of passes through the layers."""

    per_batch: float
    """Of almost nothing."""
    per_token: float
    per_square: float

    def seconds(self, work: Work) -> float:
        """Of so much work."""
        return (
            work.batches * self.per_batch
            + work.tokens * self.per_token
            + work.squares * self.per_square
        )


class Pace(NamedTuple):
    """Seconds for each part of the work."""

    per_step: float
    """Laying out, clipping, the optimizer."""
    both: Passes
    """Forward and backward, of layers that learn."""
    forward: Passes
    """Forward alone: of layers that no gradient reaches, and once more of those recomputed."""
    per_trained_token: float
    """Of the head."""
    source: str
    """How these are known, for the reader of a plan."""

    @classmethod
    def of(cls, values: Sequence[Any]) -> Pace:
        """From what JSON makes of one."""
        step, both, forward, *rest = values
        return cls(step, Passes(*both), Passes(*forward), *rest)

    def seconds(self, work: Work, *, recompute: float = 0.0, reached: float = 1.0) -> float:
        """Time in training steps.

        Args:
            work: of the run.
            recompute: share of the layers that is computed twice, 0 to 1.
            reached: share of the layers that a gradient reaches; the others run forward alone.
        """
        return (
            work.steps * self.per_step
            + reached * self.both.seconds(work)
            + (1 - reached + recompute) * self.forward.seconds(work)
            + work.trained_tokens * self.per_trained_token
        )


class Cost(NamedTuple):
    """What one token costs in floating-point operations, see `flops.py`."""

    body: float
    square: float
    head: float


def of_table(
    device: Device,
    known: Facts,
    cost: Cost,
    *,
    dtype: torch.dtype,
    per_step: float,
    held: str | None = None,
) -> Pace:
    """The pace on a device that is not here: products, memory traffic and kernel starts.

    Where a model has experts, all of them are read in each pass, whatever few tokens they see.

    Args:
        device: of the table.
        known: the model's facts.
        cost: operations without recomputation.
        dtype: of the products.
        per_step: seconds of an update; see `update.counted`.
        held: how frozen weights are held: "nf4", "fp4", "int8", "fp8"; `None`: as they are.
    """
    speed, bandwidth = device.peak(dtype) * SHARE_OF_PEAK, device.bandwidth * 1e9
    width = known.intermediate or 4 * known.hidden
    moved = 30 * known.hidden + 14 * width + 8 * known.kv_heads * known.head_dim
    batch, token = _of_held(device, known, cost, held, speed=speed, dtype=dtype)
    read = 2 * known.idle_parameters * dtype.itemsize / bandwidth
    both = Passes(
        per_batch=known.layers * _LAUNCHES * _LAUNCH_SECONDS + read + 2 * batch,
        per_token=cost.body / speed + known.layers * moved * dtype.itemsize / bandwidth + token,
        per_square=cost.square / (speed * _ATTENTION_OF_PRODUCTS),
    )
    forward = Passes(*(_FORWARD * part for part in both))
    return Pace(
        per_step=per_step,
        both=both,
        forward=forward._replace(per_batch=_FORWARD * (both.per_batch - 2 * batch) + batch),
        per_trained_token=cost.head / speed,
        source=f"{100 * SHARE_OF_PEAK:.0f} % of the {device.peak(dtype) / 1e12:,.0f} TFLOP/s of "
        f"the {device.title} (data sheet; not measured here)",
    )


def _of_held(
    device: Device,
    known: Facts,
    cost: Cost,
    held: str | None,
    *,
    speed: float,
    dtype: torch.dtype,
) -> tuple[float, float]:
    """Seconds that weights in few bits add: to one pass of a micro-batch, to both of a token.

    In 4 and 8 bits each weight is made dense for its product, whatever the number of tokens. In FP8
    the products themselves are faster, and every input is rounded first.
    """
    if held is None:
        return 0.0, 0.0
    inside = sum(kind.parameters for kind in known.linear.values())
    bandwidth = device.bandwidth * 1e9
    if held in _UNPACKED:
        modules = sum(kind.modules for kind in known.linear.values())
        return inside * _UNPACKED[held] / bandwidth + modules * _STARTS * _LAUNCH_SECONDS, 0.0
    peak = device.peak(dtype)
    faster = max((device.fp8 or 0.0) * 1e12, peak) / peak
    share = min(1.0, inside / max(known.parameters - known.embedding_parameters, 1))
    inputs = sum(
        kind.modules * sum(map(sum, kind.shapes)) / len(kind.shapes)
        for kind in known.linear.values()
    )
    products = share * cost.body / speed
    return 0.0, products / faster - products + inputs * _ROUNDED / bandwidth
