"""What `import tunesmith` offers: the verbs as functions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from tunesmith.cli import target as targets
from tunesmith.config.load import load
from tunesmith.config.run import Run

if TYPE_CHECKING:
    from tunesmith.training.plan import Plan
    from tunesmith.training.run import Result

Target = str | PathLike[str] | None


def train(target: Target, keys: Mapping[str, Any]) -> Result:
    """Train; lines of progress go to stderr, the result is returned."""
    run = _run(target, keys)
    from tunesmith.cli.train import train as run_it
    from tunesmith.training.report import report_for

    return run_it(run, report_for(sys.stderr))


def plan(target: Target, keys: Mapping[str, Any], *, exact: bool) -> Plan:
    """Plan, as `tunesmith plan` does; nothing is written, no weights are loaded.

    Args:
        target: a run file, or what else `tunesmith plan` takes.
        keys: laid over it.
        exact: whether all rows are prepared, however many there are.
    """
    run = _run(target, keys)
    from tunesmith.data.sampled import BY_DEFAULT
    from tunesmith.training import run as training
    from tunesmith.training.report import Silent

    return training.plan(run, Silent(), sampling=None if exact else BY_DEFAULT)[0]


def _run(target: Target, keys: Mapping[str, Any]) -> Run:
    return load(None, keys) if target is None else targets.read(fspath(target), keys, to_train=True)
