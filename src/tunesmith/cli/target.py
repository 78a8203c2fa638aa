"""What a verb was pointed at: a run file, a run directory or a model directory.

All verbs take the same target, so the file that trained a model also talks to it, evaluates
it and exports it.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config.dataset import names_of
from tunesmith.config.load import Overrides, load
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models import files

RUN_FILE = "run.yaml"
_PLAN_FILE = "plan.json"
_STATE_FILE = "training_state.json"


class Served(NamedTuple):
    """Which weights a run file means where it is not about training."""

    model: str
    """Base model: a source that `models.source.fetch` takes."""
    adapters: tuple[str, ...]
    note: str
    """Why these, in one line."""
    complete: bool = True
    """False where the run that was named has not come to its result."""


class Trained(NamedTuple):
    """How weights came about, as their directory tells."""

    run: Run
    identity: Mapping[str, Any]
    """What changed what was learned; see `training.plan`."""
    day: datetime.date | None = None
    """What its template printed, if it prints the date."""


def read(target: str, overrides: Overrides, *, to_train: bool = False) -> Run:
    """The run that a target stands for.

    Args:
        target: a file or a directory.
        overrides: laid over what stands there.
        to_train: a checkpoint stands for the run that it belongs to, not for its own weights.

    Raises:
        ConfigError: there is nothing to read, or what is read is wrong.
    """
    path = Path(target)
    if path.suffix == ".gguf":
        return load(None, _over(overrides, {"model_name_or_path": target}))
    if not os.path.isdir(target):
        return load(path, overrides)
    if (path / RUN_FILE).is_file():
        of_a_run = to_train and (path / _STATE_FILE).is_file()
        output = path.absolute().parent if of_a_run else path
        return load(path / RUN_FILE, _over(overrides, {"output_dir": str(output)}))
    if (path / "adapter_config.json").is_file():
        keys = {"model_name_or_path": _base_of(path), "adapter_name_or_path": [str(path)]}
        return load(None, _over(overrides, keys))
    if (path / "config.json").is_file():
        return load(None, _over(overrides, {"model_name_or_path": str(path)}))
    raise ConfigError(
        target,
        got="a directory without run.yaml, adapter_config.json or config.json",
        need="a run file, a run directory or a model directory",
    )


def reading(run: Run) -> str:
    """What is said at once: libraries, model and data take seconds, a large model minutes."""
    data = ", ".join(names_of(run.dataset.dataset))
    return f"reading {run.model.model_name_or_path or 'the model'} and {data or 'the data'} …"


def _over(overrides: Overrides, keys: Mapping[str, str | list[str]]) -> Overrides:
    """The keys that a directory stands for, with the overrides laid over them."""
    if isinstance(overrides, Mapping):
        return {**keys, **overrides}
    return [*(f"{key}={json.dumps(value)}" for key, value in keys.items()), *overrides]


def served(run: Run) -> Served:
    """The trained weights of a run where there are any, else what the file names.

    Raises:
        ConfigError: the run file names no model.
    """
    model = run.model.model_name_or_path
    if model is None:
        raise ConfigError(run.where("model_name_or_path"), need="a model")
    given = tuple(run.model.adapter_name_or_path)
    output = run.output.output_dir
    if run.places.get("adapter_name_or_path", "").startswith("command line"):
        return Served(model, given, _what(model, given))
    if output is None:
        return Served(model, given, _what(model, given))
    if (output / _PLAN_FILE).is_file():
        if (output / "adapter_config.json").is_file():
            before = given if getattr(run.method, "create_new_adapter", False) else given[:-1]
            return Served(model, (*before, str(output)), f"the adapter in {output}")
        if (output / "config.json").is_file():
            return Served(str(output), (), f"the tuned model in {output}")
    begun = any((output / name).is_file() for name in ("run.json", _PLAN_FILE))
    if begun or run.dataset.dataset:  # a file with data is one to train with
        note = f"{_what(model, given)}: {output} holds no result yet{_newest(output)}"
        return Served(model, given, note, False)
    return Served(model, given, _what(model, given))


def trained(weights: Path) -> Trained | None:
    """The run that made the weights in a directory; `None` where no run of ours has.

    Raises:
        ConfigError: the directory holds a run file that cannot be read.
        ModelError: its plan cannot be read.
    """
    path = weights / _PLAN_FILE
    if not (path.is_file() and (weights / RUN_FILE).is_file()):
        return None
    plan = files.read_json(path)
    identity, day = plan.get("identity"), plan.get("day")
    if not isinstance(identity, dict):
        raise ModelError(f"{path}: identity", got=identity, need="the plan of a training run")
    try:
        known = datetime.date.fromisoformat(day) if day else None
    except (TypeError, ValueError):
        raise ModelError(f"{path}: day", got=day, need="a date, YYYY-MM-DD") from None
    return Trained(load(weights / RUN_FILE, ()), identity, known)


def _what(model: str, adapters: tuple[str, ...]) -> str:
    return f"adapter {', '.join(adapters)} on {model}" if adapters else f"the model {model}"


def _newest(output: Path) -> str:
    """The checkpoint that can be looked at before the run is through."""
    steps = [path.name.rpartition("-")[2] for path in output.glob("checkpoint-*")]
    newest = max((int(step) for step in steps if step.isdecimal()), default=None)
    return "" if newest is None else f", its newest checkpoint is {output}/checkpoint-{newest}"


def _base_of(adapter: Path) -> str:
    path = adapter / "adapter_config.json"
    base = files.read_json(path).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{path}: base_model_name_or_path", need="the model it was trained over")
    return base
