"""What a plan is made of: model directory, tokenizer, template, examples, facts.

Gathering it reads no weights. It is the slow part of planning, and the only part that looks at
files; `planning.py` does the arithmetic.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.compute import chance, experts
from tunesmith.compute.precision import Precision
from tunesmith.config.run import Run
from tunesmith.data.media.family import Family
from tunesmith.data.prepare import Prepared, prepare
from tunesmith.data.sampled import Sampling
from tunesmith.errors import ModelError
from tunesmith.models import acting, adapter_rows, adapters, facts, freeze, load, source
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_files import read_spec
from tunesmith.models.facts import Facts
from tunesmith.models.lineage import belongs
from tunesmith.models.quantize import check as check_quantized
from tunesmith.templates import Renderer
from tunesmith.training import devices, new_tokens, reach, seeing
from tunesmith.training.asked_adapter import lora_spec, refuse_other
from tunesmith.training.devices import Device
from tunesmith.training.fingerprints import fingerprint
from tunesmith.training.memory import rehearse
from tunesmith.training.new_tokens import Words
from tunesmith.training.remembered import remembered
from tunesmith.training.report import Report, pieces
from tunesmith.training.wanted import check_tokenizer
from tunesmith.types import Tokenizer

_COMPARED_ROWS = 32
"""Rows of the run on which the loaded tokenizer is held against `tokenizer.json`."""


class Material(NamedTuple):
    """Everything that a plan and a run are made of, before weights."""

    directory: Path
    """Plain transformers directory of the base model."""
    adapters: tuple[Path, ...]
    """Directories of `adapter_name_or_path`."""
    tokenizer: Tokenizer
    renderer: Renderer
    data: Prepared
    facts: Facts
    precision: Precision
    trainable: int
    """Parameters that are trained."""
    parameters: int
    """All parameters, adapters included."""
    targets: tuple[str, ...]
    """Kinds of linear module with an adapter."""
    model_fingerprint: str
    adapter_fingerprint: str
    adapter_notes: tuple[str, ...]
    """Adapters that were trained over something else than what they are put on here."""
    tokenizer_notes: tuple[str, ...] = ()
    """What the template wants of the tokenizer and does not get, and what tokens are new."""
    words: Words | None = None
    """Tokens that the run adds."""
    day: datetime.date | None = None
    """What a template prints that prints the date."""
    elsewhere: Device | None = None
    """The device that the plan is for, if it is not here."""
    family: Family | None = None
    """What the model makes of media; `None`: the rows have none."""
    skeleton: Any = None
    """The model of the run without memory (meta device), with what is trained marked."""


def gather(
    run: Run,
    report: Report,
    *,
    weights: bool = True,
    today: datetime.date | None = None,
    device: str | None = None,
    sampling: Sampling | None = None,
) -> Material:
    """Find, read and check everything that a run needs.

    Args:
        run: what was asked.
        report: what the user sees.
        weights: whether they must be there too (they are not read); a plan does without.
        today: the date that some templates print; `None`: the clock's.
        device: what the plan is for, by its name (see `devices`); `None`: what is here.
        sampling: of how many rows a sample may stand for all; `None`: of none.

    Raises:
        Error: whatever is missing or wrong, the first in the order of the run file.
    """
    directory = fetch(run, str(run.model.model_name_or_path), report, weights=weights)
    adapter_directories = tuple(fetch(run, name, report) for name in run.model.adapter_name_or_path)
    known = facts.facts(directory, trust_remote_code=run.model.trust_remote_code)
    here = weights or known.weight_bytes is not None
    adapter_notes = _other_bases(run, directory, adapter_directories) if here else ()
    today = today or datetime.date.today()  # one for all rows, though midnight may pass
    words = worded(run, directory, adapter_directories, known.vocab, today=today)
    tokenizer, renderer = words.tokenizer, words.renderer
    tokenizer_notes = new_tokens.notes(run, words, known.vocab)
    known = known._replace(vocab=words.extended.rows)
    with run.placing():
        elsewhere, precision = devices.chosen(device, bf16=run.train.bf16, fp16=run.train.fp16)
        skeleton = _skeleton(run, directory, adapter_directories, words)
    tokenizer_notes += check_tokenizer(run, renderer, tokenizer, known.vocab)
    family = seeing.family_for(run, directory, tokenizer)
    data = examples(run, renderer, tokenizer, report, family=family, sampling=sampling)
    _refuse_ids_without_row(data, tokenizer, known.vocab)
    first = data.train[:_COMPARED_ROWS]
    texts = ["".join(text for text, _ in pieces(example, tokenizer)) for example in first]
    tokenizers.check_rows(tokenizer, texts, from_file=not words.extended.new)
    return Material(
        directory=directory,
        adapters=adapter_directories,
        tokenizer=tokenizer,
        renderer=renderer,
        data=data,
        facts=known,
        precision=precision,
        trainable=sum(p.numel() for p in adapters.trainable(skeleton).values()),
        parameters=sum(p.numel() for p in skeleton.parameters()),
        targets=_targets(skeleton),
        model_fingerprint=fingerprint(directory),
        adapter_fingerprint=" ".join(fingerprint(path) for path in adapter_directories),
        adapter_notes=adapter_notes,
        tokenizer_notes=tuple(tokenizer_notes),
        words=words,
        day=today,
        elsewhere=elsewhere,
        family=family,
        skeleton=skeleton,
    )


def worded(
    run: Run,
    directory: Path,
    adapter_directories: tuple[Path, ...],
    rows: int,
    *,
    today: datetime.date,
) -> Words:
    """Tokenizer and template, with the tokens of the adapters and those that the run adds."""
    trust = run.model.trust_remote_code
    place = adapter_rows.tokenizer_directory(directory, adapter_directories)
    rows = max(rows, *(1 + adapter_rows.last_id(path) for path in adapter_directories), 0)
    loaded = tokenizers.load(place, trust_remote_code=trust)
    words = new_tokens.words(run, loaded, rows, today=today)
    if adapter_directories and not getattr(run.method, "create_new_adapter", True):
        new_tokens.refuse_more(run, words)
    return words


def fetch(run: Run, name: str, report: Report, *, weights: bool = True, words: bool = True) -> Path:
    """The local directory of a model or adapter, downloaded or converted where needed."""
    missing = run.beside(name)
    if missing:  # it could pass for a hub id, and be asked for over the network
        raise ModelError(name, got="no such file or directory", need="a model", hint=missing)
    token = run.model.ms_hub_token if run.model.hub == "modelscope" else run.model.hf_hub_token
    return source.fetch(
        name,
        hub=run.model.hub if "hub" in run.asked else None,
        revision=run.model.model_revision,
        cache_dir=run.model.cache_dir,
        token=token.get_secret_value() if token else None,
        weights=weights,
        code=run.model.trust_remote_code,
        words=words,
        progress=report.work,
        note=lambda text: report.say(f"note: {text}"),
    )


def examples(
    run: Run,
    renderer: Renderer,
    tokenizer: Tokenizer,
    report: Report,
    *,
    family: Family | None = None,
    split_special_tokens: bool | None = None,
    whole: bool = False,
    sampling: Sampling | None = None,
) -> Prepared:
    """The examples of a run and what became of every row.

    Args:
        run: what was asked.
        renderer: the chat template.
        tokenizer: the checked tokenizer.
        report: what the user sees meanwhile.
        family: what the model makes of media; `None`: it takes none.
        split_special_tokens: as the model was trained; `None`: as the run says.
        whole: bad rows stop nothing; see `prepare`.
        sampling: of how many rows a sample may stand for all; `None`: of none.
    """
    dataset = run.dataset
    reach.refuse_elsewhere(run)
    prepared = prepare(
        dataset=dataset.dataset,
        eval_dataset=dataset.eval_dataset,
        dataset_dir=dataset.dataset_dir,
        media_dir=dataset.media_dir,
        renderer=renderer,
        tokenizer=tokenizer,
        family=family,
        cutoff_len=dataset.cutoff_len,
        max_samples=dataset.max_samples,
        val_size=dataset.val_size,
        seed=run.train.seed,
        mix_strategy=dataset.mix_strategy,
        interleave_probs=dataset.interleave_probs,
        train_on_prompt=dataset.train_on_prompt,
        mask_history=dataset.mask_history,
        split_special_tokens=(
            dataset.split_special_tokens if split_special_tokens is None else split_special_tokens
        ),
        on_bad_row=dataset.on_bad_row,
        whole=whole,
        truncation=dataset.truncation,
        overwrite_cache=dataset.overwrite_cache,
        where=run.where,
        access=reach.access(run),
        sampling=sampling,
        progress=lambda done: report.work("tokenising", done, None),
    )
    of = prepared.sampled
    rows = of.rows if of else len(prepared.train) + len(prepared.eval)
    report.work("tokenising", rows, rows)
    return prepared


def _refuse_ids_without_row(data: Prepared, tokenizer: Tokenizer, rows: int) -> None:
    """Some tokenizers have tokens that the model has no row for; a text may spell them.

    Raises:
        ModelError: a row of the data does.
    """
    for side in (data.train, data.eval):
        beyond = np.flatnonzero(side.records("largest") >= rows)
        if len(beyond):
            example = side[int(beyond[0])]
            largest = int(example.ids.max())
            raise ModelError(
                str(example.origin),
                got=f"{tokenizer.backend.id_to_token(largest)} (id {largest})",
                need=f"tokens that the model has a row for; its embedding has {rows:,}",
                hint="take that text out, or tokenizer and model from one source",
            )


def make_trainable(
    run: Run, model: Any, adapter_directories: tuple[Path, ...], words: Words | None = None
) -> None:
    """Put adapters on a loaded model, or let its own weights learn, as the run says.

    Args:
        run: what was asked.
        model: as loaded; it gets the rows of new tokens.
        adapter_directories: of `adapter_name_or_path`.
        words: what tokens are new; `None`: none.
    """
    method: Any = run.method
    before_new = words.make_rows if words else lambda model: None
    if method.finetuning_type == "lora":
        adapters.apply_adapters(
            model,
            adapter_directories,
            lora_spec(run, words),
            create_new=method.create_new_adapter,
            seed=run.train.seed,
            before_new=before_new,
        )
        return
    for path in adapter_directories:
        adapters.load_adapter(model, path, trainable=False)
        adapters.merge(model)
    before_new(model)
    if method.finetuning_type == "full":
        freeze.full(model, frozen=method.frozen_parts, only=method.train_modules)
    else:
        freeze.freeze(
            model,
            layers=method.freeze_trainable_layers,
            modules=method.freeze_trainable_modules,
            extra=method.freeze_extra_modules,
        )


def _other_bases(run: Run, directory: Path, below: tuple[Path, ...]) -> tuple[str, ...]:
    name, held = str(run.model.model_name_or_path), str(run.model.quantization or "")
    mismatch = run.model.adapter_mismatch
    return tuple(belongs(directory, name, below, quantization=held, mismatch=mismatch))


def _skeleton(
    run: Run, directory: Path, adapter_directories: tuple[Path, ...], words: Words
) -> Any:
    """The model of the run on the meta device, with its adapters."""
    trust = run.model.trust_remote_code
    config = load.read_config(directory, trust_remote_code=trust)
    model = facts.empty_model(directory, config, trust_remote_code=trust)
    load.own_attention(config, run.model.flash_attn)  # refuses what the model ignores
    kernel = load.own_attention(config)
    model.config._attn_implementation = kernel or model.config._attn_implementation
    experts.prepare(model)
    chance.refuse_other(model, str(directory / "config.json"))
    method: Any = run.method
    if run.model.quantization:
        check_quantized(model, in_full=getattr(method, "additional_target", ()))
    if method.finetuning_type != "lora":
        make_trainable(run, model, (), words)
    elif adapter_directories and not method.create_new_adapter:
        refuse_other(run, model, read_spec(adapter_directories[-1]))
        adapters.load_adapter(model, adapter_directories[-1], trainable=True)
    else:
        words.make_rows(model)
        adapters.attach(model, lora_spec(run, words), seed=0)
    if method.finetuning_type == "lora":
        acting.refuse(model, _taken_past(model))
    return model


def _taken_past(model: Any) -> list[str]:
    """Layers that learn nothing; where the model's code wants numbers, it is asked with weights."""
    config = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
    key = json.dumps(["taken past", config, adapters.attached(model)], default=str)
    try:
        return list(remembered(key, lambda: rehearse.taken_past(model)))
    except Exception:
        return []


def _targets(model: Any) -> tuple[str, ...]:
    """Kinds of linear module with an adapter, in the model's order."""
    return tuple(dict.fromkeys(name.rpartition(".")[2] for name in adapters.attached(model)))
