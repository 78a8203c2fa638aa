"""Which label was taken for which, where answers are few short labels; as text and as a picture."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.errors import printable
from tunesmith.eval.text_scores import Pair

_MOST, _LONGEST = 20, 40
OTHER = "(other)"
"""Answers that are none of the labels."""


class Confusion(NamedTuple):
    """Counts of what was said, by what was expected."""

    labels: tuple[str, ...]
    """That are expected, the most frequent first."""
    counts: tuple[tuple[int, ...], ...]
    """A row for each label, a column for each and a last one for all other answers."""

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 of each label, in percent, and how often it is expected."""
        found = {}
        for i, label in enumerate(self.labels):
            right, said = self.counts[i][i], sum(row[i] for row in self.counts)
            expected = sum(self.counts[i])
            found[label] = {
                "precision": round(100 * right / said, 4) if said else 0.0,
                "recall": round(100 * right / expected, 4),
                "f1": round(200 * right / (said + expected), 4),
                "support": expected,
            }
        return found

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of all labels, in percent."""
        each = [score["f1"] for score in self.scores.values()]
        return round(sum(each) / len(each), 4)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "labels": list(self.labels),
            "columns": [*self.labels, OTHER],
            "counts": [list(row) for row in self.counts],
            "scores": self.scores,
        }

    def lines(self) -> list[str]:
        """A table: expected labels down, answers across."""
        names = [_short(label) for label in self.labels]
        marks = [str(i + 1) for i in range(len(names))]
        first = max(len("expected"), *(len(f"{m} {n}") for m, n in zip(marks, names, strict=True)))
        heads = [*marks, "other", "recall"]
        wide = max(6, *(len(f"{c:,}") for row in self.counts for c in row))
        lines = ["  ".join(["expected".ljust(first), *(h.rjust(wide) for h in heads)])]
        for mark, name, row, label in zip(marks, names, self.counts, self.labels, strict=True):
            recall = f"{self.scores[label]['recall']:.1f}"
            cells = [*(f"{count:,}" for count in row), recall]
            lines.append(
                "  ".join([f"{mark} {name}".ljust(first), *(c.rjust(wide) for c in cells)])
            )
        return lines


def confusion(pairs: Sequence[Pair]) -> Confusion | None:
    """The counts; `None` where answers are no labels.

    They are where at most 20 texts of at most 40 characters are expected, at least two of them,
    and each of them twice on the average.
    """
    expected = Counter(pair.label.strip() for pair in pairs)
    few = 2 <= len(expected) <= _MOST and 2 * len(expected) <= len(pairs)
    if not few or max(map(len, expected)) > _LONGEST:
        return None
    labels = tuple(sorted(expected, key=lambda label: (-expected[label], label)))
    places = {label: i for i, label in enumerate(labels)}
    counts = [[0] * (len(labels) + 1) for _ in labels]
    for pair in pairs:
        said = places.get(pair.predict.strip(), len(labels))
        counts[places[pair.label.strip()]][said] += 1
    return Confusion(labels, tuple(map(tuple, counts)))


def draw(found: Confusion, title: str) -> bytes:
    """The same as PNG: shades are shares of a row, numbers are counts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [_drawn(_short(label), i) for i, label in enumerate(found.labels)]
    size = len(names)
    shares = [[count / sum(row) for count in row] for row in found.counts]
    figure = Figure(figsize=(4.6 + 0.55 * size, 3.2 + 0.42 * size), dpi=130)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(found.counts):
        for x, count in enumerate(row):
            ink = "white" if shares[y][x] > 0.55 else "#333333"
            axes.text(x, y, f"{count:,}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(range(size + 1), [*names, OTHER], rotation=35, ha="right")
    axes.set_yticks(range(size), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("expected")
    axes.set_title(printable(title), fontsize=11, loc="left")
    axes.axvline(size - 0.5, color="#333333", linewidth=1)
    figure.colorbar(image, ax=axes, label="share of the row")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _drawn(name: str, place: int) -> str:
    """A label as the font has it, or its number in the table (Chinese, in most installations)."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    known = all(font.get_char_index(ord(c)) for c in name)
    return name.replace("$", r"\$") if known else f"label {place + 1}"


def _short(label: str) -> str:
    label = printable(" ".join(label.split())) or "(empty)"
    return label if len(label) <= 24 else f"{label[:23]}…"
