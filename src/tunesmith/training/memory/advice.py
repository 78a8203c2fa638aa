"""What to do where memory is not enough: the fullest component, and what would help by how much.

A remedy is only named with its predicted effect, and only if it has one: a smaller batch does not,
since the micro-batch is the plan's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tunesmith.config.run import Run, flat
from tunesmith.errors import ConfigError, TrainError
from tunesmith.training.material import Material
from tunesmith.training.memory import machine
from tunesmith.training.memory.estimate import Estimate
from tunesmith.training.memory.solve import SURELY, Layout

_WORTH = 0.03
"""Share of the need below which a remedy is not named."""
_NAMED = 2


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


def refuse(
    where: str,
    advice: Callable[[], Sequence[Remedy]],
    layout: Layout,
    *,
    longest: int,
    device: str,
) -> None:
    """Refuse a run whose longest example does not fit, with the numbers.

    The estimate is right within ten percent: a need that exceeds all memory that is there, free
    swap included, by no more than that is left to the run, with a note in its plan.

    Raises:
        ConfigError: it does not fit.
    """
    if layout.needed <= SURELY * (layout.free + machine.swap_bytes(device)):
        return
    raise ConfigError(
        where,
        got=f"an example of {longest:,} tokens needs {gib(layout.needed)} at the {layout.moment}, "
        f"of which {_fullest(layout)}",
        need=f"{gib(layout.free)}, which there are",
        hint=_hint(advice()),
    )


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
            hint=_hint(advice()),
        ) from error


def _hint(found: Sequence[Remedy]) -> str:
    return ", or ".join(r.text() for r in found[:_NAMED]) or "a smaller model, or a larger device"


def _fullest(layout: Layout) -> str:
    name = max(layout.components, key=lambda part: layout.components[part])
    return f"{name} {gib(layout.components[name])}"


def _candidates(
    run: Run, material: Material, estimate: Estimate, layout: Layout
) -> Iterator[tuple[str, float]]:
    """(change, bytes that it saves), that which costs speed or quality the least first."""
    parts, tokens = layout.components, layout.tokens
    each, fixed = material.precision.dtype.itemsize, estimate.fixed
    if run.model.disable_gradient_checkpointing:
        again = estimate.need(tokens, estimate.layers).total
        yield "disable_gradient_checkpointing: false", layout.needed - again
    if each == 4:
        work = sum(parts[name] for name in ("activations", "workspace", "fragmentation"))
        yield "bf16: true", (fixed.weights + work) / 2
    optimizer = fixed.optimizer
    if optimizer >= 2 * fixed.trained and run.method.finetuning_type != "lora":
        yield "optim: adamw_8bit", 0.75 * optimizer
    learned = fixed.trained + fixed.gradients + optimizer
    dense = flat(run).get("quantization_bit", "no such key") is None
    if run.method.finetuning_type == "lora" and dense:
        inside = sum(kind.parameters for kind in material.facts.linear.values())
        yield "quantization_bit: 4", inside * (each - 0.52)
    shorter = _shorter(estimate, layout, longest=int(material.data.train.lengths.max()))
    if shorter:
        yield f"cutoff_len: {shorter}", layout.needed - _at(estimate, layout, shorter)
    if run.method.finetuning_type == "lora":
        rank = int(getattr(run.method, "lora_rank", 1))
        if rank > 1:
            yield f"lora_rank: {rank // 2}", learned * (1 - (rank // 2) / rank)
    else:
        yield "finetuning_type: lora", learned - fixed.trained / 4 * each


def _at(estimate: Estimate, layout: Layout, tokens: int) -> int:
    return estimate.need(tokens, layout.recompute).total


def _shorter(estimate: Estimate, layout: Layout, *, longest: int) -> int | None:
    """The longest round cutoff below the longest example that fits; else half of that."""
    if longest < 2:
        return None
    steps = [longest * eighth // 8 for eighth in range(7, 0, -1)]
    rounded = [size // 64 * 64 or size for size in steps]
    return next(
        (size for size in rounded if _at(estimate, layout, size) <= layout.free), longest // 2
    )
