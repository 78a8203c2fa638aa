"""`merged`: a plain transformers directory, base and adapters in one, in the dtype of the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith import store
from tunesmith.export.job import OF_DTYPE, Format, Job, Written, name_of
from tunesmith.models import files, processor
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import quiet


def write(job: Job, model: Any, place: Path) -> Written:
    """Fill the directory."""
    weights(job, model.to(job.stored), place)
    words(job, place)
    return Written(place, name_of(job.stored))


def weights(job: Job, model: Any, place: Path) -> None:
    """Write weights, config and generation settings as the model is in memory."""
    from transformers import GenerationConfig

    tokenizer = job.serving.tokenizer
    ids = [tokenizer.id_of(stop) for stop in job.serving.stops]
    model.config.dtype = job.stored
    if ids:
        model.config.eos_token_id = ids if len(ids) > 1 else ids[0]
    # older transformers refuse to save an odd one; the base's is taken over below as it stands
    model.generation_config = GenerationConfig()
    with quiet():
        model.save_pretrained(place, max_shard_size=f"{max(1, int(job.max_shard_gb * 1000))}MB")
    generation = files.read_json_if_there(job.model_dir / "generation_config.json")
    generation |= {"eos_token_id": ids} if ids else {}
    pad = tokenizer.id_of(tokenizer.pad)
    if pad is not None:
        generation.setdefault("pad_token_id", pad)
    store.write_json(place / "generation_config.json", generation)


def words(job: Job, place: Path) -> None:
    """Write tokenizer, chat template, processor and, where there is one, the Modelfile."""
    serving = job.serving
    for name, data in processor.files_of(job.model_dir).items():
        (place / name).write_bytes(data)
    usual = next((word for word in serving.stops if word in serving.stop_words), None)
    tokenizers.save(serving.tokenizer, place, chat_template=serving.chat_template, eos=usual)
    if serving.modelfile is not None:
        store.write_text(place / "Modelfile", serving.modelfile)


FORMAT = Format(
    "merged",
    check=lambda job: (),
    write=write,
    bound=lambda job: OF_DTYPE[job.stored],
    bytes_of=lambda job, weights: weights * job.stored.itemsize,
)
