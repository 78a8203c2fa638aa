"""The figures of a prediction, and what of it people look at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.errors import printable
from tunesmith.eval.call_scores import Called, call_scores
from tunesmith.eval.confusion import Confusion, confusion, draw
from tunesmith.eval.predict import Predicted
from tunesmith.eval.text_scores import Pair, scores

_WORST, _SHOWN = 5, 60


class Figures(NamedTuple):
    """What rows of answers come to."""

    metrics: dict[str, float]
    """Names without prefix; percentages but for counts."""
    confusion: Confusion | None
    worst: tuple[tuple[Predicted, float], ...]
    """Rows with the lowest ROUGE-L, and that; none that is exact."""
    signature: str
    """How BLEU was computed."""

    def prefixed(self, prefix: str) -> dict[str, float]:
        """The metrics as logs and result files name them."""
        return {f"{prefix}_{name}": value for name, value in self.metrics.items()}

    def lines(self) -> list[str]:
        """The rows that went worst, and which label was taken for which."""
        found: list[str] = []
        if self.confusion:
            found += ["answers by expected label:", *self.confusion.lines()]
        if self.worst:
            found.append("farthest from what was expected (ROUGE-L):")
        for row, value in self.worst:
            found.append(f"  {value:5.1f}  {printable(str(row.origin))}")
            found.append(f"         expected  {_short(row.label)}")
            found.append(f"         answer    {_short(row.predict)}")
        return found

    def picture(self, title: str) -> bytes | None:
        """The confusion as PNG, where there is one."""
        return draw(self.confusion, title) if self.confusion else None

    def as_dict(self) -> dict[str, Any]:
        """What a result file has beside the metrics."""
        more: dict[str, Any] = {"bleu_signature": self.signature}
        if self.confusion:
            more["confusion"] = self.confusion.as_dict()
        return more


def figures(rows: Sequence[Predicted]) -> Figures:
    """All figures of some rows, at least one.

    Raises:
        ConfigError: the libraries of `tunesmith[metrics]` are not installed.
    """
    pairs = [Pair(row.predict, row.label) for row in rows]
    text = scores(pairs)
    metrics = dict(text.means)
    metrics |= call_scores([Called(row.predict_calls, row.label_calls) for row in rows])
    table = confusion(pairs)
    if table:
        metrics["macro_f1"] = table.macro_f1
    order = sorted(range(len(rows)), key=lambda i: (text.rouge_l[i], i))
    worst = [(rows[i], text.rouge_l[i]) for i in order if not pairs[i].same][:_WORST]
    metrics["samples"] = len(rows)
    metrics["cut_off"] = sum(row.finish == "length" for row in rows)
    return Figures(metrics, table, tuple(worst), text.signature)


def _short(text: str) -> str:
    text = printable(" ".join(text.split())) or "(nothing)"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
