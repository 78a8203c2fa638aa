"""What routers chose during a run, drawn: the load of every expert, and how it changed.

Shape letters: S log records, L layers, E experts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_COLUMNS = 12
"""Experts up to which each load is written into its field."""
_LEGEND = 8
"""Layers up to which each has a line in the legend."""


def draw(records: Sequence[Mapping[str, Any]], name: str = "") -> bytes:
    """A PNG: loads at the end as fields, the most used expert of each layer over the steps.

    Args:
        records: of `trainer_log.jsonl`; at least one has `router_load`.
        name: of the run, for the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    said = [record for record in records if "router_load" in record]
    load_SLE = np.array([record["router_load"] for record in said])
    steps = [record["current_steps"] for record in said]
    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    title = "load of the experts"
    figure.suptitle(f"{name}: {title}" if name else title, fontsize=11)
    left, right = figure.subplots(1, 2)
    _fields(figure, left, load_SLE[-1], steps[-1])
    _lines(right, load_SLE, said, steps)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _fields(figure: Any, axes: Any, load_LE: np.ndarray, step: int) -> None:
    """Shares of a layer's tokens by expert."""
    layers, experts = load_LE.shape
    shown = axes.imshow(100 * load_LE, cmap="Blues", vmin=0, aspect="auto")
    axes.set_title(f"share of the choices at step {step:,} (%); even: {100 / experts:.3g}",
                   fontsize=9)  # fmt: skip
    axes.set_xlabel("expert")
    axes.set_ylabel("layer with experts")
    axes.set_xticks(_some(experts))
    axes.set_yticks(_some(layers))
    figure.colorbar(shown, ax=axes)
    if experts <= _COLUMNS and layers <= 3 * _COLUMNS:
        for layer, expert in np.ndindex(load_LE.shape):
            dark = load_LE[layer, expert] > 0.6 * load_LE.max()
            axes.text(
                expert, layer, f"{100 * load_LE[layer, expert]:.0f}", ha="center", va="center",
                fontsize=7, color="white" if dark else "black",
            )  # fmt: skip


def _lines(
    axes: Any, load_SLE: np.ndarray, said: Sequence[Mapping[str, Any]], steps: Sequence[int]
) -> None:
    """The most used expert of each layer, in multiples of an even share, and the entropy."""
    layers, experts = load_SLE.shape[1:]
    most_SL = load_SLE.max(2) * experts
    marker = "o" if len(steps) <= 40 else ""
    for layer in range(layers):
        label = f"layer {layer}" if layers <= _LEGEND else None
        axes.plot(steps, most_SL[:, layer], linewidth=1, marker=marker, markersize=3,
                  color=f"C{layer % 10}", alpha=1 if label else 0.5, label=label)  # fmt: skip
    axes.axhline(1, color="#b8b8b8", linestyle="--", linewidth=1)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("most used expert of a layer (1 = even)")
    axes.set_ylim(bottom=0.9)
    last = said[-1]
    axes.set_title(
        f"imbalance {last['aux_loss']:.3g}; entropy {last['router_entropy']:.1%} of the largest; "
        f"{last['router_dropped']:,} dropped", fontsize=9,
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if layers <= _LEGEND:
        axes.legend(frameon=False, fontsize=8, ncols=2)


def _some(count: int) -> list[int]:
    """At most some twenty ticks."""
    return list(range(0, count, max(1, count // 20)))
