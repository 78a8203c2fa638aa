"""What a run leaves in its directory, beside checkpoints and log.

A checkpoint and the result hold the same files: weights (an adapter in PEFT's format, or a
plain transformers directory), tokenizer with the chat template that was trained, generation
config with every stop id, the resolved run file and the plan.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith import __version__, store
from tunesmith.config.dataset import names_of
from tunesmith.config.load import dump
from tunesmith.config.run import Run
from tunesmith.data.prepare import Prepared
from tunesmith.errors import StoreError
from tunesmith.models import adapters, files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_files import read_tensors
from tunesmith.models.card import CardFacts, title
from tunesmith.models.load import load_model, quiet, stored_dtype
from tunesmith.training import journal
from tunesmith.training.plan import Plan
from tunesmith.training.plots import draw
from tunesmith.types import Tokenizer


class Written(NamedTuple):
    """What stands beside the weights, the same in every checkpoint."""

    run: Run
    plan: Plan
    tokenizer: Tokenizer
    chat_template: str | None
    eos: str | None
    """The token that ends a turn, where the template replaces the tokenizer's own."""
    generation: Mapping[str, Any]
    """`generation_config.json` of the base model, with every stop id."""
    lineage: Mapping[str, str] = {}
    """What an adapter was trained over."""
    processor: Mapping[str, bytes] = {}
    """Files of the processor of a model that sees or hears, by name."""
    base: Path | None = None
    """Whose weights those that learn nothing are; `None`: adapters were merged into them."""


def write_model(
    model: Any, directory: Path, written: Written, *, dtype: torch.dtype | None = None
) -> None:
    """Fill a directory so that it loads as a model or an adapter, here and elsewhere.

    Args:
        model: as it stands after a step.
        directory: exists, is empty and is published by the caller.
        written: what stands beside the weights.
        dtype: that whole models are stored in; `None`: as they are in memory.
    """
    base = str(written.run.model.model_name_or_path)
    if adapters.attached(model):
        adapters.save_adapter(model, directory, base, lineage=written.lineage)
    else:
        _save_whole(model, directory, dtype, written)
    tokenizers.save(
        written.tokenizer, directory, chat_template=written.chat_template, eos=written.eos
    )
    store.write_json(directory / "generation_config.json", dict(written.generation))
    for name, data in written.processor.items():
        store.write_bytes(directory / name, data)
    store.write_text(directory / "run.yaml", dump(written.run))
    store.write_json(directory / "plan.json", written.plan.as_dict())
    files.readable(directory)


def _save_whole(model: Any, directory: Path, dtype: torch.dtype | None, written: Written) -> None:
    """A plain transformers directory, in `dtype`, leaving the model in memory as it is."""
    stop_ids = written.generation["eos_token_id"]
    state = model.state_dict() | _rounded(model, written.base)
    state = {
        name: tensor.detach().to(dtype) if dtype and tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    with quiet():
        model.save_pretrained(directory, state_dict=state)
    config = json.loads((directory / "config.json").read_text(encoding="utf8"))
    if dtype is not None:  # transformers writes the dtype of the parameters in memory
        config["dtype"] = str(dtype).removeprefix("torch.")
    if stop_ids:  # some engines read this file only
        config["eos_token_id"] = stop_ids[0] if len(stop_ids) == 1 else list(stop_ids)
    store.write_json(directory / "config.json", config)


def _rounded(model: Any, base: Path | None) -> dict[str, torch.Tensor]:
    """Weights that learn nothing and were rounded for the products, as they are stored in fp32."""
    frozen = [
        name
        for name, p in model.named_parameters(remove_duplicate=False)
        if not p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)
    ]
    if base is None or not frozen or stored_dtype(base) != torch.float32:
        return {}
    stored = load_model(base, dtype=torch.float32).state_dict()
    return {name: stored[name] for name in frozen if name in stored}


def generation_config(
    directory: Path, stop_ids: Sequence[int], *, control: Collection[int] | None = None
) -> dict[str, Any]:
    """The base model's generation config with the stop ids of the template first.

    Args:
        directory: of the base model.
        stop_ids: of the template.
        control: ids that are no ordinary text. Where the base is the result of a run, others are
            stops of the template of that run, which this one has left; `None`: not known.
    """
    config = files.read_json_if_there(directory / "generation_config.json")
    own = config.get("eos_token_id")
    own = [] if own is None else own if isinstance(own, list) else [own]
    if control is not None and (directory / "run.yaml").is_file():
        own = [number for number in own if number in control]
    config["eos_token_id"] = list(dict.fromkeys([*stop_ids, *own]))
    return config


def write_results(
    directory: Path, *, train: Mapping[str, Any], evaluation: Mapping[str, Any] | None
) -> None:
    """`train_results.json`, `eval_results.json`, `all_results.json`."""
    store.write_json(directory / "train_results.json", dict(train))
    if evaluation is not None:
        store.write_json(directory / "eval_results.json", dict(evaluation))
    store.write_json(directory / "all_results.json", {**train, **(evaluation or {})})


def write_trainer_state(
    directory: Path, *, plan: Plan, step: int, best: tuple[int, float] | None
) -> None:
    """`trainer_state.json` with the keys that dashboards of transformers read."""
    history = [
        {"step": record["current_steps"], **_without(record, "current_steps", "total_steps")}
        for record in journal.read(directory / journal.FILE)
    ]
    store.write_json(
        directory / "trainer_state.json",
        {
            "global_step": step,
            "max_steps": plan.steps,
            "num_train_epochs": plan.epochs,
            "epoch": step / plan.steps_per_epoch,
            "logging_steps": plan.log_every,
            "eval_steps": plan.eval_every,
            "save_steps": plan.save_every,
            "train_batch_size": plan.batch_per_device,
            "best_metric": None if best is None else best[1],
            "best_global_step": None if best is None else best[0],
            "log_history": history,
        },
    )


def write_plots(directory: Path) -> list[str]:
    """Draw every curve of the log; names of the files."""
    drawn = draw(journal.read(directory / journal.FILE), "/".join(directory.parts[-2:]))
    for name, data in drawn.items():
        store.write_bytes(directory / name, data)
    return list(drawn)


def _without(record: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def card_facts(written: Written, data: Prepared, metrics: Mapping[str, Any]) -> CardFacts:
    """What the model card tells about this run."""
    run, plan = written.run, written.plan
    return CardFacts(
        name=title(str(run.model.model_name_or_path), names_of(run.dataset.dataset)),
        base=str(run.model.model_name_or_path),
        is_adapter=run.method.finetuning_type == "lora",
        directory=plan.output_dir,
        stage=run.method.stage,
        method=plan.method,
        data={part.dataset: part.used for part in data.mix},
        held_out_rows=plan.eval_examples,
        settings={key: value for key, value in run.asked.items() if value is not None},
        metrics={k: float(v) for k, v in metrics.items() if isinstance(v, int | float)},
        template=run.dataset.template or "",
        stops=plan.stop_tokens,
        dtype="fp32" if run.method.finetuning_type == "lora" else "",
        notes=tuple(_as_mixed(data)),
        version=__version__,
    )


def _as_mixed(data: Prepared) -> Iterator[str]:
    """Data sets whose rows do not come once an epoch each."""
    for part in data.mix:
        if part.repeats or part.left_out:
            rows = f"{part.rows:,} rows, of which an epoch takes {part.taken:,}"
            yield f"{part.dataset}: {rows} ({part.repeats:,} repeats, {part.left_out:,} left out)"


def read_weights(model: Any, directory: Path) -> None:
    """Put the trained weights of a checkpoint into a model that was made for them.

    Raises:
        StoreError: a tensor is missing or has another shape.
    """
    from safetensors.torch import load_file

    if adapters.attached(model):
        wanted, stored = adapters.adapter_tensors(model), read_tensors(directory)
    else:
        wanted, stored = adapters.trainable(model), {}
        for path in files.weight_files(directory):
            stored |= load_file(path)
        if not wanted.keys() <= stored.keys():  # on disk some models have other names
            stored = load_model(directory, dtype=torch.float32).state_dict()
    for key, own in wanted.items():
        found = stored.get(key)
        if found is None or found.shape != own.shape:
            raise StoreError(
                f"{directory}: {key}",
                got="missing" if found is None else tuple(found.shape),
                need=f"a tensor of shape {tuple(own.shape)}",
            )
    if adapters.attached(model):
        adapters.put_tensors(model, {key: stored[key] for key in wanted})
        return
    with torch.no_grad():
        for name, parameter in adapters.trainable(model).items():
            parameter.copy_(stored[name])
