"""The statistics of a run's examples as one PNG: lengths, data sets, layouts.

Colours are those of Okabe and Ito, which differ in brightness too; shapes and words say the same.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tunesmith.errors import printable

if TYPE_CHECKING:
    from tunesmith.data.statistics import Histogram, Spread, Statistics

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#E69F00", "#c9c9c9", "#333333"
_MOST_SETS = 6
"""Data sets that have bars of their own; the others share theirs."""
_LONGEST_NAME = 24
_CHARACTER = 0.017
"""Width of a character of a label, as a share of its axes; somewhat more than it has."""


def draw(said: Statistics, name: str) -> bytes:
    """The picture.

    Args:
        said: what was found.
        name: of the run, for the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure(said, name)).print_png(buffer)
    return buffer.getvalue()


def figure(said: Statistics, name: str) -> Any:
    """The same, before it is drawn."""
    from matplotlib.figure import Figure

    whole = Figure(figsize=(11, 7.5), dpi=130)
    whole.set_layout_engine("constrained", hspace=0.08, wspace=0.06)
    upper, lower = whole.subfigures(2, 1)  # each with margins of its own
    (lengths, split), (sets, layouts) = upper.subplots(1, 2), lower.subplots(1, 2)
    whole.suptitle(
        printable(
            f"{name}: {_counted(said.examples, 'example')}, {said.total.total:,} tokens, "
            f"{100 * said.trained:.0f} % of them trained"
        ),
        fontsize=13,
    )
    _lengths(lengths, said)
    _split(split, said)
    _sets(sets, said)
    _layouts(layouts, said)
    return whole


def _lengths(axes: Any, said: Statistics) -> None:
    found = said.histogram
    width = found.width
    starts = [start + width / 2 for start in found.starts]
    shares = _shares(found.total, said.examples)
    axes.bar(starts, shares, width=0.92 * width, color=_BLUE)
    _titled(axes, "How long an example is", found)
    axes.set_ylim(0, 1.35 * max(shares))
    _marks(axes, said, last=found.starts[-1] + width)


def _marks(axes: Any, said: Statistics, *, last: int) -> None:
    """Lines at the figures, each up to its own label, so that none goes through another's.

    A label stands to the right of its line where there is room up to the end and to the lines
    whose labels are on the left. Labels on the left are higher, the outermost highest.
    """
    named: dict[int, list[str]] = {}
    for value, label in (
        (said.total.median, "median"), (said.total.p95, "95 %"), (said.total.p99, "99 %"),
        (said.cutoff.cutoff_len, "cutoff_len"),
    ):  # fmt: skip
        if value <= last:
            named.setdefault(value, []).append(label)
    labels = {value: f" {', '.join(names)} {value:,} " for value, names in named.items()}
    end, on_the_left = last, []
    for value in sorted(labels, reverse=True):
        room = _CHARACTER * len(labels[value]) * last
        if value + room > end and value > room:
            on_the_left.append(value)
            end = value
    on_the_right = sorted(set(labels) - set(on_the_left))
    for row, value in enumerate([*on_the_left, *on_the_right]):
        height = 0.99 - 0.065 * row
        axes.axvline(value, ymax=height, color=_INK, linewidth=1, linestyle=":")
        axes.annotate(
            labels[value], (value, height), xycoords=("data", "axes fraction"), fontsize=9,
            color=_INK, va="top", ha="right" if value in on_the_left else "left",
        )  # fmt: skip


def _split(axes: Any, said: Statistics) -> None:
    found = said.histogram
    width = found.width
    sides = (
        ("prompt, not trained", found.prompt, said.prompt, _GREY, 0.27),
        ("answer, trained", found.answer, said.answer, _ORANGE, 0.73),
    )
    for label, counts, spread, color, place in sides:
        at = [start + place * width for start in found.starts]
        shares = _shares(counts, said.examples)
        axes.bar(at, shares, width=0.44 * width, color=color, label=f"{label}: {_told(spread)}")
    _titled(axes, "What of it is prompt and answer", found)
    axes.set_ylim(0, 1.3 * max(_shares((*found.prompt, *found.answer), said.examples)))
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _sets(axes: Any, said: Statistics) -> None:
    """Shares of each data set, the largest at the top."""
    rows = sorted(said.parts, key=lambda part: -part.tokens)
    rest = rows[_MOST_SETS:]
    named = [(_short(p.name), [p.examples, p.tokens, p.trained]) for p in rows[:_MOST_SETS]]
    if rest:
        keys = ("examples", "tokens", "trained")
        named.append((f"{len(rest)} others", [sum(getattr(p, k) for p in rest) for k in keys]))
    wholes = said.examples, said.total.total, said.answer.total
    kinds = (("examples", _GREY), ("tokens", _BLUE), ("trained tokens", _ORANGE))
    for number, (label, color) in enumerate(kinds):
        at = [row + 0.27 * (number - 1) for row in range(len(named))]
        shares = [100 * counts[number] / max(wholes[number], 1) for _, counts in named]
        axes.barh(at, shares, height=0.25, color=color, label=label)
        for y, share in zip(at, shares, strict=True):
            said_share = f" {share:.0f} %" if share >= 1 else " <1 %"
            axes.annotate(said_share, (share, y), fontsize=8, va="center", color=_INK)
    axes.set_yticks(range(len(named)), [row[0] for row in named])
    axes.set_ylim(max(len(named), 3) - 0.4, -0.95)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("share of the whole (%)")
    axes.set_title("Where it comes from", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)


def _layouts(axes: Any, said: Statistics) -> None:
    """Positions of an epoch, with and without a token."""
    most = max(layout.positions for layout in said.layouts)
    unit, name = _unit(most)
    for row, layout in enumerate(said.layouts):
        full = said.total.total
        axes.barh(row, full / unit, height=0.6, color=_BLUE, label="tokens" if not row else "")
        empty = (layout.positions - full) / unit
        axes.barh(
            row, empty, left=full / unit, height=0.6, color="white", edgecolor=_INK, hatch="////",
            linewidth=0.6, label="empty" if not row else "",
        )  # fmt: skip
        axes.annotate(
            f" {100 * layout.waste:.1f} % empty\n {_counted(layout.steps, 'step')}",
            (layout.positions / unit, row), fontsize=9, va="center", color=_INK,
        )  # fmt: skip
    names = [f"{layout.name}{' (this run)' * layout.chosen}" for layout in said.layouts]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.95)
    axes.set_xlim(0, 1.4 * most / unit)
    axes.set_xlabel(f"positions in an epoch ({name})")
    axes.set_title("What layouts make of it", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def _titled(axes: Any, title: str, found: Histogram) -> None:
    """Axes over tokens; the last bar tells where it has no end."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("tokens")
    axes.set_ylabel("share of the examples (%)")
    last = found.starts[-1] + found.width
    axes.set_xlim(0, last)
    ticks = [start for start in found.starts if start % (2 * found.width) == 0]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.annotate(
        "and\nmore" if found.open_ended else "", (1, 0), xycoords="axes fraction", xytext=(0, -4),
        textcoords="offset points", fontsize=8, ha="right", va="top", color=_INK,
    )  # fmt: skip
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _told(spread: Spread) -> str:
    return f"median {spread.median:,}, 99 % {spread.p99:,} tokens"


def _shares(counts: tuple[int, ...], examples: int) -> list[float]:
    return [100 * count / examples for count in counts]


def _unit(most: int) -> tuple[int, str]:
    """Of an axis over so many tokens."""
    for unit, name in ((10**9, "billion tokens"), (10**6, "million tokens")):
        if most >= unit:
            return unit, name
    return (1000, "thousand tokens") if most >= 10_000 else (1, "tokens")


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
