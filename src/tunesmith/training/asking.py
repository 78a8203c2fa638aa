"""What a run asks of libraries and hardware: there, or refused before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunesmith.compute import attention_kernels, float8
from tunesmith.config.run import Run
from tunesmith.data.ledger import counted
from tunesmith.errors import ConfigError
from tunesmith.models import quantize
from tunesmith.models.parts import sizes
from tunesmith.training import balancing, features, optim
from tunesmith.training.material import Material


def notes(run: Run, material: Material) -> tuple[str, ...]:
    """What a careful reader would want to know about it.

    Args:
        run: what was asked.
        material: what was found.

    Raises:
        ConfigError: a library, a device or a setting is not there; at the place of its key.
    """
    precision, known, away = material.precision, material.facts, material.elsewhere
    try:
        if away is not None:  # what is installed here says nothing of what is there
            if run.model.quantization_method == "fp8" and run.model.quantization:
                there = away.title, away.capability
                float8.check(precision.device, precision.dtype, elsewhere=there)
        elif run.model.quantization:
            quantize.require(run.model.quantization, precision.device, precision.dtype)
        attention_kernels.check(
            run.model.flash_attn,
            device=precision.device,
            dtype=precision.dtype,
            head_dim=known.head_dim,
            capability=away.capability if away else None,
        )
        paged = precision.device.type == "cuda"
        found = optim.check(run.train.optimizer, run.train.optim_args, paged=paged)
    except ConfigError as error:
        error.where = run.where(error.where)
        raise
    found += tuple(balancing.notes(run, material.skeleton))
    if run.model.quantization_method == "fp8" and precision.device.type == "cpu":
        found += (
            "quantization_method: fp8 is for GPUs that have such products; a processor takes "
            "longer for them than for bf16",
        )
    if run.train.optimizer == "muon" and run.method.finetuning_type == "lora":
        found += (
            "optim: muon orthogonalises the updates of A and of B, each alone; the method is made "
            "for whole weight matrices (finetuning_type: full)",
        )
    return (*found, *_unseen(material), *features.notes(run, material))


def _unseen(material: Material) -> Iterator[str]:
    """Rows that what learns has no part in: without a picture nothing passes a projector."""
    learned = [part for part, size in sizes(material.skeleton, learned=True).items() if size]
    count = int(np.count_nonzero(material.data.train.num_media == 0))
    if material.family is not None and "language_model" not in learned and count:
        what = " and ".join(part.replace("_", " ") for part in learned)
        yield f"{counted(count)} without media: the {what} learns nothing from them"


def kernel(run: Run) -> str:
    """The attention kernel that was asked for, as the plan's row ends with it."""
    name = attention_kernels.NAMES[run.model.flash_attn]
    return f"; {name}" if name else ""
