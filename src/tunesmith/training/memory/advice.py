"""What to do where memory is not enough: the fullest component, and what would help by how much.

A remedy is only named with its predicted effect, and only if it has one: a smaller batch does not,
since the micro-batch is the plan's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from tunesmith.compute.precision import Precision, native_bf16
from tunesmith.config.run import Run, flat
from tunesmith.errors import ConfigError, TrainError
from tunesmith.training.material import Material
from tunesmith.training.memory import machine
from tunesmith.training.memory.estimate import Estimate, needs
from tunesmith.training.memory.solve import SURELY, Layout

_WORTH = 0.03
"""Share of the need below which a remedy is not named."""
_NAMED = 2
_DECIDED_BY = {
    "process": "model_name_or_path", "weights": "model_name_or_path",
    "trained weights": "finetuning_type", "gradients": "finetuning_type",
    "optimizer": "finetuning_type",
}  # fmt: skip
"""The key that a part of the need hangs on; of all others it is the cutoff."""


class Remedy(NamedTuple):
    """A change of the run file that takes less memory."""

    change: str
    saves: int
    """Bytes, predicted."""

    def text(self) -> str:
        """As an error prints it."""
        return f"{self.change} (saves {gib(self.saves)})"


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / (1 << 30):.1f} GiB"


def remedies(run: Run, material: Material, estimate: Estimate, layout: Layout) -> list[Remedy]:
    """What would take less, that which costs the least first; those that suffice before others.

    Args:
        run: what was asked.
        material: what was found.
        estimate: of the run.
        layout: that does not fit.
    """
    found = [
        Remedy(change, int(saves))
        for change, saves in _candidates(run, material, estimate, layout)
        if saves > _WORTH * layout.needed
    ]
    return sorted(found, key=lambda remedy: layout.needed - remedy.saves > layout.free)


def beyond(layout: Layout, device: str) -> bool:
    """Whether a layout cannot fit.

    The estimate is right within ten percent: a need that exceeds all memory that is there, free
    swap included, by no more than that is left to the run, with a note in its plan.

    Args:
        layout: with what it needs.
        device: "cpu" or "cuda".
    """
    return layout.needed > SURELY * (layout.free + machine.swap_bytes(device))


def refuse(
    where: Callable[[str], str],
    advice: Callable[[], Sequence[Remedy]],
    layout: Layout,
    *,
    longest: int,
    device: str,
) -> None:
    """Refuse a run whose longest example does not fit, with the numbers.

    Args:
        where: place of a key of the run.
        advice: what would take less.
        layout: the smallest that could be tried.
        longest: tokens of the longest example.
        device: "cpu" or "cuda".

    Raises:
        ConfigError: it does not fit.
    """
    if not beyond(layout, device):
        return
    name = max(layout.components, key=lambda part: layout.components[part])
    raise ConfigError(
        where(_DECIDED_BY.get(name, "cutoff_len")),
        got=f"{gib(layout.needed)} for the longest example alone ({longest:,} tokens); "
        f"{_fullest(layout)} is the largest part",
        need=f"at most {gib(layout.free)}, which are free",
        hint=_hint(advice(), layout),
    )


def note(found: Sequence[Remedy], layout: Layout) -> str:
    """For a plan that exceeds what is free by no more than an estimate may be wrong."""
    told = _hint(found, layout)
    return f"the estimate exceeds the memory that is there: the run may be killed; {told}"


@contextmanager
def explained(layout: Layout, advice: Callable[[], Sequence[Remedy]]) -> Iterator[None]:
    """An allocation that failed, as one error; what the checkpoints hold is not touched by it.

    Args:
        layout: with what was estimated.
        advice: what would take less.

    Raises:
        TrainError: there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error)
        out = "out of memory" in text or "not enough memory" in text or "allocate memory" in text
        if not (out or isinstance(error, MemoryError)):
            raise
        fullest = f", most of it {_fullest(layout)}" if layout.components else ""
        raise TrainError(
            "memory",
            got=" ".join(text.split())[:200] or "none left",
            need=f"about {gib(layout.needed)} by the estimate{fullest}; "
            f"{gib(layout.free)} were free",
            hint=_hint(advice(), layout),
        ) from error


def _hint(found: Sequence[Remedy], layout: Layout) -> str:
    """The first remedies, and which of them does not suffice alone."""
    named = found[:_NAMED]
    enough = [r.text() for r in named if layout.needed - r.saves <= layout.free]
    others = [r.text() for r in named if layout.needed - r.saves > layout.free]
    alone = f"alone {'neither is' if len(others) > 1 else 'that is not'} enough"
    told = [", or ".join(enough), f"{' and '.join(others)}: {alone}" if others else ""]
    return "; ".join(filter(None, told)) or "a smaller model, or a larger device"


def _fullest(layout: Layout) -> str:
    name = max(layout.components, key=lambda part: layout.components[part])
    return f"{name} {gib(layout.components[name])}"


def _candidates(
    run: Run, material: Material, estimate: Estimate, layout: Layout
) -> Iterator[tuple[str, float]]:
    """(change, bytes that it saves), that which costs speed or quality the least first."""
    tokens, fixed = layout.tokens, estimate.fixed
    each = material.precision.dtype.itemsize
    lora = run.method.finetuning_type == "lora"
    if run.model.disable_gradient_checkpointing:
        again = estimate.need(tokens, estimate.layers).total
        yield "disable_gradient_checkpointing: false", layout.needed - again
    if each == 4:
        key, half = _half(material)
        other = needs(run, material._replace(precision=half), device=estimate.device)
        other = other._replace(fixed=other.fixed._replace(process=fixed.process))
        yield f"{key}: true", layout.needed - other.need(tokens, layout.recompute).total
    optimizer = fixed.optimizer
    if optimizer >= 2 * fixed.trained and not lora:
        yield "optim: adamw_8bit", 0.75 * optimizer
    learned = fixed.trained + fixed.gradients + optimizer
    dense = flat(run).get("quantization_bit", "no such key") is None
    if lora and dense and not getattr(run.method, "pissa_init", False):
        inside = sum(kind.parameters for kind in material.facts.linear.values())
        yield "quantization_bit: 4", inside * (each - 0.52)
    longest = int(material.data.train.lengths.max())
    for size in _shorter(longest):
        needed = _at(run, material, estimate, cutoff=size, free=layout.free)
        if needed <= layout.free or size <= longest // 2:
            yield f"cutoff_len: {size}", layout.needed - needed
            break
    if lora:
        rank = int(getattr(run.method, "lora_rank", 1))
        if rank > 1:
            yield f"lora_rank: {rank // 2}", learned * (1 - (rank // 2) / rank)
    else:
        yield "finetuning_type: lora", learned - fixed.trained / 4 * each


def _half(material: Material) -> tuple[str, Precision]:
    """The key of 16 bits that a device has, and what it makes of the run."""
    native = material.elsewhere.bf16 if material.elsewhere else True
    if not material.elsewhere and material.precision.device.type == "cuda":
        native = native_bf16(material.precision.device)[0]
    key, dtype = ("bf16", torch.bfloat16) if native else ("fp16", torch.float16)
    return key, material.precision._replace(dtype=dtype)


def _at(run: Run, material: Material, estimate: Estimate, *, cutoff: int, free: int) -> int:
    """What the plan would need with a shorter cutoff, in the layout that it would then choose.

    In a plan that has room, that is no less: a micro-batch then holds more of the shorter examples.
    """
    lengths = np.sort(np.minimum(material.data.train.lengths, cutoff))[::-1]
    count, packed = run.global_batch(), run.dataset.packing or run.dataset.neat_packing
    return estimate.layout(
        longest=int(lengths[0]),
        step_tokens=count * cutoff if packed else int(lengths[:count].sum()),
        may_recompute=not run.model.disable_gradient_checkpointing,
        free=free,
    ).needed


def _shorter(longest: int) -> Iterator[int]:
    """Round cutoffs below the longest example."""
    for eighth in range(7, 0, -1) if longest >= 2 else ():
        size = longest * eighth // 8
        yield size // 64 * 64 or size
