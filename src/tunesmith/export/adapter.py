"""`adapter`: the adapter alone in PEFT's format, with the tokenizer and template that it needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.export import merged
from tunesmith.export.gate import Bound
from tunesmith.export.job import Format, Job, Written
from tunesmith.export.said import Questions, Said
from tunesmith.models.adapter_spec import CONFIG, WEIGHTS


def check(job: Job) -> tuple[str, ...]:
    """One adapter, over the base that its card names."""
    if len(job.adapter_dirs) != 1:
        raise ConfigError(
            "export_format: adapter",
            got=f"{len(job.adapter_dirs)} adapters" if job.adapter_dirs else "no adapter",
            need="one adapter over its base",
            hint="export_format: merged",
        )
    return ()


def write(job: Job, model: Any, place: Path) -> Written:
    """Copy the adapter and write what stands beside it."""
    (source,) = job.adapter_dirs
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(source / name, place / name)
    merged.words(job._replace(serving=job.serving._replace(modelfile=None)), place)
    return Written(place, "float32")


def _over_its_base(job: Job, questions: Questions, said: Said) -> tuple[Questions, Said]:
    return questions._replace(base=str(job.model_dir)), said


FORMAT = Format(
    "adapter",
    check=check,
    write=write,
    bound=lambda job: Bound("an adapter over its base", 2e-5, 1e-8),
    bytes_of=lambda job, weights: sum((path / WEIGHTS).stat().st_size for path in job.adapter_dirs),
    opens="adapter",
    asks=_over_its_base,
)
