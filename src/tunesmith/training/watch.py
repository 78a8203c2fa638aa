"""Between two steps: what is logged, evaluated, saved, and when to stop early.

The schedule of a run stands here and nowhere else. It holds the state that a checkpoint keeps
beside weights and optimizer, so a resumed run watches on where the interrupted one was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.training import metrics
from tunesmith.training.journal import Journal
from tunesmith.training.metrics import Progress, Window
from tunesmith.training.plan import Plan
from tunesmith.training.report import Report
from tunesmith.training.trackers import Tracker
from tunesmith.types import Step

Evaluate = Callable[[], Mapping[str, float]]


@dataclass
class Watched:
    """What has been seen so far; goes into every checkpoint."""

    progress: Progress = field(default_factory=Progress)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(step, metric) of every evaluation."""
    best: tuple[int, float] | None = None
    """(step, metric) of the best evaluation."""
    window: Window = field(default_factory=Window)
    """Steps since the last log record."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "progress": self.progress._asdict(),
            "evaluations": self.evaluations,
            "best": self.best,
            "window": self.window.as_dict(),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Watched:
        """What `as_dict` gave."""
        return cls(
            Progress(**data["progress"]),
            [(int(step), float(value)) for step, value in data["evaluations"]],
            None if data["best"] is None else (int(data["best"][0]), float(data["best"][1])),
            Window.of(data["window"]),
        )


class Watch:
    """Logs and evaluates as the plan says.

    Args:
        plan: whose cadences are followed.
        journal: `trainer_log.jsonl`.
        report: what the user sees.
        trackers: where else numbers go.
        evaluate: held-out metrics of the model as it stands; `None`: no rows are held out.
        metric: key that decides what is best.
        greater_is_better: its direction.
        patience: evaluations without a better metric after which to stop; `None`: never.
        watched: what an interrupted run has seen.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        report: Report,
        *,
        trackers: Sequence[Tracker] = (),
        evaluate: Evaluate | None = None,
        metric: str = "eval_loss",
        greater_is_better: bool = False,
        patience: int | None = None,
        watched: Watched | None = None,
    ) -> None:
        self.plan, self.journal, self.report, self.trackers = plan, journal, report, trackers
        self._evaluate, self.metric, self._greater = evaluate, metric, greater_is_better
        self._patience = patience
        self.seen = watched or Watched()

    @property
    def metrics_so_far(self) -> list[float]:
        """The metric of each evaluation, for schedules that follow it."""
        return [value for _, value in self.seen.evaluations]

    @property
    def should_stop(self) -> bool:
        """Whether the metric has not become better for `patience` evaluations."""
        if self._patience is None or self.seen.best is None:
            return False
        after = [step for step, _ in self.seen.evaluations if step > self.seen.best[0]]
        return len(after) >= self._patience

    def is_best(self, step: int) -> bool:
        """Whether no evaluation is better than the one after this step."""
        return self.seen.best is not None and self.seen.best[0] == step

    def step(self, step: Step, *, seconds: float) -> None:
        """Take in one optimizer step; log and evaluate where they are due."""
        self.seen.progress = self.seen.progress.after(step, seconds=seconds)
        self.seen.window.add(step, seconds)
        done, total = step.number, self.plan.steps
        left = self.seen.progress.elapsed_seconds / done * (total - done)
        self.report.step(
            done,
            total,
            loss=step.loss,
            tokens_per_second=self.seen.window.tokens_per_second,
            left=left,
        )
        if done % self.plan.log_every == 0 or done == total:
            self._write(
                self.seen.window.record(
                    self.seen.progress, steps=total, steps_per_epoch=self.plan.steps_per_epoch
                )
            )
            self.seen.window = Window()
        due = self.plan.eval_every is not None and done % self.plan.eval_every == 0
        if self._evaluate and (due or done == total):
            self.evaluation()

    def evaluation(self) -> Mapping[str, float]:
        """Evaluate now; remember, log and return the metrics."""
        assert self._evaluate is not None, "no rows are held out"
        found = self._evaluate()
        step, value = self.seen.progress.step, found[self.metric]
        self.seen.evaluations.append((step, value))
        if math.isfinite(value) and (self.seen.best is None or self._better(value)):
            self.seen.best = (step, value)
        self._write(
            {
                **metrics.where(
                    self.seen.progress,
                    steps=self.plan.steps,
                    steps_per_epoch=self.plan.steps_per_epoch,
                ),
                **found,
            }
        )
        return found

    def close(self) -> None:
        """The run is over."""
        for tracker in self.trackers:
            tracker.finish()

    def _better(self, value: float) -> bool:
        assert self.seen.best is not None, "compared with nothing"
        return value > self.seen.best[1] if self._greater else value < self.seen.best[1]

    def _write(self, record: Mapping[str, Any]) -> None:
        self.journal.append(record)
        self.report.log(record)
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
        for tracker in self.trackers:
            tracker.log(numbers, self.seen.progress.step)
