"""Whether a run compiles the element-wise work of its layers: where it saves more than it takes.

What is compiled, and what is not, is said in `compute.rows`.
"""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.compute import rows
from tunesmith.compute.precision import Precision
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError

_GAIN = {"cpu": 0.05, "cuda": 0.05}
"""Share of the time of the steps that it saves. On a processor (AVX512) 0.06 to 0.12 in bf16 and
0.02 to 0.08 in fp32 were measured; on a GPU it is counted: the bytes that norms and gates of a 7 B
model move in single operations, and in one, against its products at half of the peak."""
_WARM_UP = {"cpu": 20.0, "cuda": 30.0}
"""Seconds that compiling takes, of one process, when nothing of it is kept from an earlier run."""
_WORTH = 2.0
"""What it must save, in what it takes."""


class Compiling(NamedTuple):
    """What is decided."""

    on: bool
    why: str
    """For the reader of a plan."""
    gain: float = 0.0
    """Share of the time of the steps."""
    warm_up: float = 0.0
    """Seconds."""

    def seconds(self, plain: float) -> float:
        """Time in training steps, compiling included, of a run that takes so long without."""
        return plain * (1 - self.gain) + self.warm_up


def decide(
    run: Run, precision: Precision, seconds: float, *, here: bool, before: bool | None
) -> Compiling:
    """Whether kernels are compiled.

    Args:
        run: what was asked.
        precision: of the run, and its device.
        seconds: of the training steps, predicted, without it.
        here: whether the device is there.
        before: what was done at the first start of the run; `None`: this is the first.

    Raises:
        ConfigError: it is asked for, and there is no compiler.
    """
    asked, kind = run.train.torch_compile, precision.device.type
    gain, warm_up = _GAIN.get(kind, 0.0), _WARM_UP.get(kind, 0.0)
    missing = rows.missing_compiler(precision.device) if here else None
    if asked and missing:
        raise ConfigError(
            run.where("torch_compile"), got=True, need=missing[0],
            hint=f"{missing[1]}; or torch_compile: false",
        )  # fmt: skip
    if asked is False:
        return Compiling(False, "off: torch_compile: false")
    if before is False:
        return Compiling(False, "off, as at the first start of this run")
    saves = (
        f"saves about {100 * gain:.0f} % of the time of the steps, takes about {warm_up:.0f} s once"
    )
    if before or asked:
        return Compiling(True, f"norms and gates; {saves}", gain, warm_up)
    if kind not in _GAIN:
        return Compiling(False, f"off: not measured on {kind}; torch_compile: true turns it on")
    if missing:
        return Compiling(False, f"off: it takes {missing[0]}")
    if gain * seconds < _WORTH * warm_up:
        return Compiling(False, f"off: the run is too short ({saves})")
    return Compiling(True, f"norms and gates; {saves}", gain, warm_up)
