"""`bnb-4bit`, `bnb-8bit`: a transformers directory whose linear layers bitsandbytes holds."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith.compute.bnb import library
from tunesmith.errors import ModelError
from tunesmith.export import merged
from tunesmith.export.gate import Bound
from tunesmith.export.job import Format, Job, Written
from tunesmith.models.classes import auto_class, sees_or_hears
from tunesmith.models.load import explained, quiet
from tunesmith.models.parts import parts

BOUNDS = {4: Bound("4-bit nf4", 1.4, 3.0), 8: Bound("8-bit int8", 0.5, 0.2)}
"""Of few bits: twice the largest share and three times the largest divergence that was measured
(docs/log.md): a model of 135M parameters loses a good deal. That the codes are those of nf4 and
nothing else, tests hold against nf4 written down anew."""
_BITS = {4: 4.5, 8: 8.1}
_BLOCK = 64


def check(bits: int, job: Job) -> tuple[str, ...]:
    """Refuse to begin without what quantises.

    Raises:
        ConfigError: bitsandbytes is not installed, or does not load here.
        ModelError: rows that its blocks do not divide: its kernel for the CPU fails on them.
    """
    library("export_format", instead="export_format: merged")
    for key in ("hidden_size", "intermediate_size"):
        width = job.config.get("text_config", job.config).get(key)
        if bits == 4 and isinstance(width, int) and width % _BLOCK:
            raise ModelError(
                f"{job.model_dir}/config.json: {key}",
                got=width,
                need=f"a multiple of {_BLOCK}, the weights that share a scale",
                hint="export_format: bnb-8bit",
            )
    return ()


def write(bits: int, job: Job, model: Any, place: Path) -> Written:
    """Write the merged weights, and quantise them while they are read again."""
    with tempfile.TemporaryDirectory(prefix="merged-", dir=place) as name:
        dense = Path(name)
        merged.weights(job, model.to(job.stored), dense)
        _quantise(bits, job, dense, place, dense_parts=_dense(model))
        settings = (dense / "generation_config.json").read_bytes()
    (place / "generation_config.json").write_bytes(settings)
    merged.words(job._replace(serving=job.serving._replace(modelfile=None)), place)
    kind = "nf4, double quantisation" if bits == 4 else "int8"
    return Written(place, f"{bits}-bit {kind} (bitsandbytes)")


def _dense(model: Any) -> list[str] | None:
    """What stays dense of a model that sees: head, tower and projector; `None`: the head alone."""
    if not sees_or_hears(model.config):
        return None
    of, head = parts(model), model.get_output_embeddings()
    of_head = [name for name, module in model.named_modules() if module is head]
    prefix = model.base_model_prefix
    every = [f"{prefix}.{name}" for name, _ in model.base_model.named_children()]
    return [name for name in every if of(name) != "language_model"] + of_head


def _quantise(
    bits: int, job: Job, dense: Path, place: Path, *, dense_parts: list[str] | None
) -> None:
    from transformers import AutoConfig, BitsAndBytesConfig, GenerationConfig

    how = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=job.stored,
            llm_int8_skip_modules=dense_parts,
        )
        if bits == 4
        else BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=dense_parts)
    )
    device = job.loading.device if torch.cuda.is_available() else "cpu"
    with quiet(), explained(dense, None):
        kind = auto_class(AutoConfig.from_pretrained(str(dense), local_files_only=True))
        held = kind.from_pretrained(
            str(dense),
            dtype=job.stored,
            quantization_config=how,
            device_map={"": device},
            local_files_only=True,
        )
        held.generation_config = GenerationConfig()
        held.save_pretrained(place, max_shard_size=f"{max(1, int(job.max_shard_gb * 1000))}MB")


def _of(bits: int) -> Format:
    return Format(
        f"bnb-{bits}bit",
        check=lambda job: check(bits, job),
        write=lambda job, model, place: write(bits, job, model, place),
        bound=lambda job: BOUNDS[bits],
        bytes_of=lambda job, weights: int(weights * (job.stored.itemsize + _BITS[bits] / 8)),
        rounds=True,
    )


FORMATS: Mapping[str, Format] = {form.name: form for form in map(_of, (4, 8))}
