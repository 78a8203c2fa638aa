"""What a run says about itself: log records, results files, FLOPs.

Keys are those that LLaMA-Factory and transformers write, so dashboards read them as they are.
"""

from __future__ import annotations

import datetime
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tunesmith.types import Step


class Progress(NamedTuple):
    """Sums over the whole run, kept in every checkpoint."""

    step: int = 0
    tokens: int = 0
    """All tokens of the training steps, each row counted whole."""
    trained_tokens: float = 0.0
    examples: int = 0
    loss_sum: float = 0.0
    """Mean losses of the steps, added up."""
    elapsed_seconds: float = 0.0
    """Time in training steps, of all processes that worked on the run."""
    saved: int = 0
    """Of all tokens those that were not computed, because rows share them."""

    @property
    def computed(self) -> int:
        """Tokens that went through the model."""
        return self.tokens - self.saved

    def after(self, step: Step, *, seconds: float) -> Progress:
        """The sums with one more step."""
        return Progress(
            step.number,
            self.tokens + step.tokens,
            self.trained_tokens + step.weight,
            self.examples + step.examples,
            self.loss_sum + step.loss,
            self.elapsed_seconds + seconds,
            self.saved + step.saved,
        )


@dataclass
class Window:
    """Steps since the last log record; losses are averaged over the tokens they count."""

    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint taken between two log records."""
        return {"steps": [step._asdict() for step in self.steps], "seconds": self.seconds}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Window:
        """What `as_dict` gave."""
        return cls([Step(**step) for step in data["steps"]], data["seconds"])

    def add(self, step: Step, seconds: float) -> None:
        """Take in one step that took `seconds`."""
        self.steps.append(step)
        self.seconds += seconds

    @property
    def tokens_per_second(self) -> float:
        """All tokens of the window per second of it."""
        return sum(s.tokens for s in self.steps) / max(self.seconds, 1e-9)

    def record(self, progress: Progress, *, steps: int, steps_per_epoch: int) -> dict[str, Any]:
        """The line of `trainer_log.jsonl` for this window."""
        last, weight = self.steps[-1], sum(s.weight for s in self.steps)
        return {
            **where(progress, steps=steps, steps_per_epoch=steps_per_epoch),
            "loss": round(sum(s.loss * s.weight for s in self.steps) / weight, 6),
            "grad_norm": round(last.grad_norm, 6),
            "lr": last.learning_rate,
            "throughput": round(self.tokens_per_second, 2),
            "total_tokens": progress.tokens,
            **_routers(self.steps),
        }


def _routers(steps: Sequence[Step]) -> dict[str, Any]:
    """What routers chose over some steps, for the log; nothing where there are none."""
    if not all("router_load" in step.metrics for step in steps):
        return {}

    def total(name: str) -> Any:
        return sum(np.asarray(step.metrics[name]) * step.weight for step in steps)

    load, tokens = total("router_load"), total("router_tokens")
    return {
        "aux_loss": round(float(total("aux_loss") / sum(step.weight for step in steps)), 6),
        "router_entropy": round(float(total("router_entropy") / tokens), 6),
        "router_dropped": round(float(total("router_dropped"))),
        "router_load": (load / load.sum(1, keepdims=True)).round(6).tolist(),
    }


def where(progress: Progress, *, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """How far the run is: the keys that every log record begins with."""
    done = progress.step
    remaining = progress.elapsed_seconds / max(done, 1) * (steps - done)
    return {
        "current_steps": done,
        "total_steps": steps,
        "epoch": round(done / steps_per_epoch, 4),
        "percentage": round(100 * done / steps, 2),
        "elapsed_time": clock(progress.elapsed_seconds),
        "remaining_time": clock(remaining),
    }


_ETERNITY = 10**13
"""Seconds; a little more is beyond what a time can be."""


def clock(seconds: float) -> str:
    """`1:02:03`."""
    return str(datetime.timedelta(seconds=round(min(seconds, _ETERNITY))))


def train_results(
    progress: Progress, *, steps_per_epoch: int, parameters: int, flops: float
) -> dict[str, Any]:
    """What `train_results.json` holds.

    Args:
        progress: of the finished run.
        steps_per_epoch: to say how many epochs were run.
        parameters: of the whole model, without the embedding when it is not a head as well.
        flops: estimate of what was really computed.

    `total_flos` is transformers' figure, 6 · parameters · tokens, which counts a full
    backward pass and every logit; `real_flops` counts what a run of this kind computes.
    """
    seconds = max(progress.elapsed_seconds, 1e-9)
    return {
        "epoch": round(progress.step / steps_per_epoch, 4),
        "total_flos": 6.0 * parameters * progress.tokens,
        "real_flops": flops,
        "train_loss": progress.loss_sum / max(progress.step, 1),
        "train_runtime": round(progress.elapsed_seconds, 4),
        "train_samples_per_second": round(progress.examples / seconds, 3),
        "train_steps_per_second": round(progress.step / seconds, 3),
        "train_tokens_per_second": round(progress.tokens / seconds, 3),
        "train_tokens": progress.tokens,
        "train_computed_tokens": progress.computed,
        "train_trained_tokens": round(progress.trained_tokens),
        "peak_memory_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Largest resident memory of this process so far, or of its GPU where it has one, in bytes."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
