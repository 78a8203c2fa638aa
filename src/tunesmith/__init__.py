"""Tunesmith: from your own data to a tuned model that you can serve.

import tunesmith  # brings no torch; the first call does
result = tunesmith.train("run.yaml", learning_rate=2e-4)
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from tunesmith.threads import wait_politely

if TYPE_CHECKING:
    from tunesmith.training.plan import Plan
    from tunesmith.training.run import Result

__version__ = "0.1.0.dev0"
__all__ = ["__version__", "plan", "train"]

wait_politely()  # before torch is loaded, or it has no effect


def train(target: str | PathLike[str] | None = None, **keys: Any) -> Result:
    """As the command does, `keys` laid over the run file; what it refuses is an `errors.Error`."""
    from tunesmith.cli import api

    return api.train(target, keys)


def plan(target: str | PathLike[str] | None = None, *, exact: bool = True, **keys: Any) -> Plan:
    """What `train` would do, without loading weights; not `exact`: many rows may be sampled."""
    from tunesmith.cli import api

    return api.plan(target, keys, exact=exact)


def __dir__() -> list[str]:
    return __all__
