"""Whether numbers can be relied on: a probe before training, finite weights before a save.

Now and then a process computes otherwise than its twins from its first forward pass on. The
hash of a small fixed forward on the base weights is kept per (weights, precision, threads,
versions, processor); a process that gets another one says so.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunesmith import store
from tunesmith.compute.precision import Precision, probe
from tunesmith.errors import StoreError, TrainError

FreshProcess = Callable[[], None]
"""Starts the program again; returns only where it has done so already."""


def check(
    model: Any,
    model_fingerprint: str,
    precision: Precision,
    *,
    versions: Mapping[str, str],
    before: str | None = None,
    fresh_process: FreshProcess | None = None,
) -> tuple[str, str | None]:
    """The probe's hash and, where it differs from an earlier one or cannot be kept, what to tell.

    Args:
        model: the base model as loaded.
        model_fingerprint: of its weights.
        precision: of the run.
        versions: of libraries and processor.
        before: hash that the checkpoint to resume from was computed with.
        fresh_process: how to try once more, where the caller can.
    """
    found = probe(model)
    key = json.dumps([model_fingerprint, precision.name, precision.instructions, dict(versions)])
    path = _path(key)
    expected = before or _read(path)
    if expected is None:
        try:
            store.write_json(path, {"probe": found, "of": json.loads(key)})
        except StoreError as error:  # a convenience: no run is refused for it
            return found, f"later runs cannot be compared with this one: {error.line()}"
        return found, None
    if expected == found:
        return found, None
    if fresh_process is not None:
        fresh_process()
    return found, (
        f"this process computes otherwise than an earlier one (probe {found[:8]}, not "
        f"{expected[:8]}): the run is equal to it within tolerance, not bit by bit"
    )


def require_finite(
    tensors: Mapping[str, Tensor], *, step: int, dtype: torch.dtype | None = None
) -> None:
    """Refuse to save what has overflowed: the loss of the next step would tell, the last has none.

    Args:
        tensors: what is to be saved, by name.
        step: after which it stands so.
        dtype: that it is saved in; `None`: as it is.

    Raises:
        TrainError: a number in them is not finite.
    """
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
        and not bool(tensor.detach().to(dtype or tensor.dtype).isfinite().all())
    ]
    if bad:
        raise TrainError(
            f"step {step}",
            got=f"{len(bad)} of {len(tensors)} tensors that are not finite after the update "
            f"(first: {bad[0]})",
            need="finite weights; they were not saved",
            hint="a lower learning_rate",
        )


def _path(key: str) -> Path:
    return store.cache_root() / "probes" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf8"))["probe"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # a lost cache only costs the comparison


def versions() -> dict[str, str]:
    """What computed: two runs are promised to be equal only where these are."""
    import transformers

    bnb = sys.modules.get("bitsandbytes")
    return {
        **({"bitsandbytes": bnb.__version__} if bnb else {}),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
