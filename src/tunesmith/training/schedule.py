"""The learning rate as a pure function of the step (and of the evaluations so far).

Formulas are those of `transformers.get_scheduler`, so every name of its `SchedulerType`
works. None of its objects is stepped along: a resumed run asks for the same step and gets
the same rate. The usual schedules are written out, to the last bit the same: where peft is
installed, its trainer's module imports that too, which takes longer than all else of a start.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tunesmith.errors import ConfigError

WATCHES_EVALUATION = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the metric of the evaluations, not the step alone."""
_OURS = ("self", "optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
"""Arguments of a schedule that a run decides by other keys."""

Schedule = Callable[[int, Sequence[float]], float]
"""(step from 1, metric of each evaluation before it) -> learning rate."""


def warmup_steps_of(steps: int, *, warmup_steps: float, warmup_ratio: float) -> int:
    """Number of warm-up steps: the count where one is given, else the rounded-up share."""
    if warmup_steps >= 1:
        return int(warmup_steps)
    return math.ceil(steps * (warmup_steps or warmup_ratio))


def schedule(
    name: str,
    *,
    learning_rate: float,
    warmup_steps: int,
    steps: int,
    options: Mapping[str, Any] | None = None,
    where: str = "lr_scheduler_kwargs",
) -> Schedule:
    """The learning rate of every step of a run.

    Args:
        name: one of transformers' `SchedulerType`.
        learning_rate: the peak.
        warmup_steps: steps of linear warm-up at the start.
        steps: optimizer steps of the whole run.
        options: `lr_scheduler_kwargs`.
        where: these stand, for errors.

    Raises:
        ConfigError: an option that the schedule does not have, a value that it refuses, or
            one under which some step would have no rate.
    """
    if not options and name in _USUAL:
        usual = _USUAL[name]
        return lambda number, evaluations: learning_rate * usual(number - 1, warmup_steps, steps)
    from transformers import get_scheduler

    _refuse_unknown(name, options or {}, where)
    base = _dummy(learning_rate)
    try:
        built = get_scheduler(
            name,
            base,
            num_warmup_steps=warmup_steps,
            num_training_steps=steps,
            scheduler_specific_kwargs=dict(options or {}),
        )
        if name in WATCHES_EVALUATION:
            return lambda number, evaluations: _replayed(
                name, learning_rate, dict(options or {}), evaluations
            )
        factor = built.lr_lambdas[0]
        for done in sorted({0, min(warmup_steps, steps - 1), steps // 2, steps - 1}):
            if not 0 <= factor(done) < math.inf:
                raise ValueError(f"step {done + 1} would have {factor(done):g} of the rate")
    except (TypeError, ValueError, ArithmeticError) as error:
        need = f"options that {name} can use: {error}"
        raise ConfigError(where, got=dict(options or {}), need=need) from error
    return lambda number, evaluations: learning_rate * float(factor(number - 1))


def _constant(done: int, warmup: int, steps: int) -> float:
    del done, warmup, steps
    return 1.0


def _risen(done: int, warmup: int, steps: int) -> float:
    del steps
    return done / max(1, warmup) if done < warmup else 1.0


def _linear(done: int, warmup: int, steps: int) -> float:
    if done < warmup:
        return done / max(1, warmup)
    return max(0.0, (steps - done) / max(1, steps - warmup))


def _cosine(done: int, warmup: int, steps: int) -> float:
    if done < warmup:
        return done / max(1, warmup)
    progress = (done - warmup) / max(1, steps - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


_USUAL = {
    "constant": _constant,
    "constant_with_warmup": _risen,
    "linear": _linear,
    "cosine": _cosine,
}
"""(steps done, warm-up steps, all steps) -> share of the peak."""


def options_of(name: str) -> dict[str, Any]:
    """What `lr_scheduler_kwargs` may hold for a schedule: each option with its annotation."""
    from transformers import optimization as theirs
    from transformers.trainer_utils import SchedulerType

    build: Any = theirs.TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    behind = {"reduce_lr_on_plateau": torch.optim.lr_scheduler.ReduceLROnPlateau}
    if name == "greedy":
        behind["greedy"] = theirs.GreedyLR
    build = behind[name].__init__ if name in behind else build
    hints = typing.get_type_hints(build)
    names = inspect.signature(build).parameters
    defaults = {key: names[key].default for key in names}
    return {key: hints.get(key, type(defaults[key])) for key in names if key not in _OURS}


def _refuse_unknown(name: str, options: Mapping[str, Any], where: str) -> None:
    """Refuse what transformers ignores under some schedules, or takes until it is used."""
    known = options_of(name)
    for key, value in options.items():
        if key not in known:
            like = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                where,
                got=key,
                need=f"options of {name}: {', '.join(known) or 'it has none'}",
                hint=like[0] if like else "",
            )
        if not _is(value, known[key]):
            raise ConfigError(f"{where}.{key}", got=value, need=_in_words(known[key]))


def _is(value: object, wanted: Any) -> bool:
    """Whether a value of a run file is of an annotated type; a whole number is a number, too."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(_is(one, inner[0]) for one in value)
    if wanted in (int, float):
        numbers = (int,) if wanted is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, type(None) if wanted is None else wanted)


def _in_words(wanted: Any) -> str:
    if typing.get_origin(wanted) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(wanted)))}"
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


def _dummy(learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], lr=learning_rate)


def _replayed(
    name: str, learning_rate: float, options: dict[str, Any], evaluations: Sequence[float]
) -> float:
    from transformers import get_scheduler

    optimizer = _dummy(learning_rate)
    built: Any = get_scheduler(name, optimizer, scheduler_specific_kwargs=options)
    for metric in evaluations:
        built.step(metric)
    return float(optimizer.param_groups[0]["lr"])
