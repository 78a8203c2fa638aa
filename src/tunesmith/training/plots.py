"""The curves of a run as PNG files, drawn from `trainer_log.jsonl`."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tunesmith.training import routers

FILES = {
    "training_loss.png": ("loss", "training loss"),
    "training_eval_loss.png": ("eval_loss", "held-out loss"),
    "training_eval_accuracy.png": ("eval_accuracy", "held-out token accuracy"),
    "training_eval_rouge-l.png": ("eval_rouge-l", "held-out answers: ROUGE-L (%)"),
    "training_eval_exact_match.png": ("eval_exact_match", "held-out answers: exact match (%)"),
}
"""File name -> (key of the log, label of the axis)."""
ROUTERS = "training_routers.png"

_DARK, _PALE, _GREY = "#1f4e8c", "#9db7d5", "#b8b8b8"
_SMOOTHED_FROM = 8
"""Points from which a moving average shows more than the points themselves."""
_TICKS = 10
"""Points that are no closer than so many on the axis have a tick each."""


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average, weight 2 / (n / 10 + 1) on the newest, without start bias."""
    alpha = min(1.0, 2 / (len(values) / 10 + 1))
    average = weight = 0.0
    result = []
    for value in values:
        average = (1 - alpha) * average + alpha * value
        weight = (1 - alpha) * weight + alpha
        result.append(average / weight)
    return result


def draw(records: Sequence[Mapping[str, Any]], name: str = "") -> dict[str, bytes]:
    """A PNG for every curve that the log has points of: file name -> bytes.

    The held-out loss stands over the training loss, which has the same unit: a single
    evaluation is one point there, and that the two part is seen at once.

    Args:
        records: of `trainer_log.jsonl`.
        name: of the run, for the titles.
    """
    drawn = {}
    for file, (key, label) in FILES.items():
        points = _points(records, key)
        if points:
            behind = _points(records, "loss") if key == "eval_loss" else []
            parts = _of_each_dataset(records, key)
            drawn[file] = _curve(points, key, label, behind=behind, parts=parts, name=name)
    if any("router_load" in record for record in records):
        drawn[ROUTERS] = routers.draw(records, name)
    return drawn


def _points(records: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(r["current_steps"], r[key]) for r in records if key in r]


def _of_each_dataset(
    records: Sequence[Mapping[str, Any]], key: str
) -> dict[str, list[tuple[int, float]]]:
    """The curves that `eval_on_each_dataset` adds to one of all, by data set."""
    if not key.startswith("eval_"):
        return {}
    names = re.compile(rf"eval_(.+)_{key.removeprefix('eval_')}", re.DOTALL)
    keys = dict.fromkeys(key for record in records for key in record)
    found = [match for match in map(names.fullmatch, keys) if match]
    return {match[1]: _points(records, match[0]) for match in found}


def _curve(
    points: Sequence[tuple[int, float]],
    key: str,
    label: str,
    *,
    behind: Sequence[tuple[int, float]],
    parts: Mapping[str, Sequence[tuple[int, float]]],
    name: str,
) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps, values = [p[0] for p in points], [p[1] for p in points]
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    once = ", one evaluation" if len(points) == 1 and key.startswith("eval_") else ""
    figure.suptitle(f"{name}: {label}{once}" if name else f"{label}{once}", fontsize=11)
    if behind:
        axes.plot(*zip(*behind, strict=True), color=_GREY, label="training loss")
    for number, (part, its_points) in enumerate(parts.items()):
        axes.plot(
            *zip(*its_points, strict=True), linewidth=1, marker=".",
            color=f"C{1 + number % 9}", label=f"only {part[-32:]}".replace("$", r"\$"),
        )  # fmt: skip
    smooth = len(points) > _SMOOTHED_FROM and key.endswith("loss")
    marker = "o" if len(points) <= 40 else ""
    color = _PALE if smooth else _DARK
    raw = "as logged" if smooth else label
    axes.plot(steps, values, color=color, marker=marker, markersize=4, label=raw)
    if smooth:
        axes.plot(steps, smoothed(values), color=_DARK, linewidth=2, label="moving average")
    last = max(steps[-1], *(p[0] for p in behind), 1)
    axes.set_xlim(0, last * 1.1)
    axes.annotate(
        f"{values[-1]:.4g}", (steps[-1], values[-1]), xytext=(6, 0), textcoords="offset points",
        fontsize=9, va="center",
    )  # fmt: skip
    axes.set_xlabel("optimizer step")
    if key.endswith("loss"):
        axes.set_ylabel("loss (nats per token)")
    else:
        axes.set_ylabel(label)
        axes.set_ylim(0, 100 if label.endswith("(%)") else 1)
    ticks = [0, *steps]
    if min(after - before for before, after in pairwise(ticks)) >= last / _TICKS:
        axes.set_xticks(ticks)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if smooth or behind or parts:
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
