"""Run and material to plan: the arithmetic, and what a careful reader would want to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tunesmith.compute.fused import blocks
from tunesmith.config.run import Run, flat
from tunesmith.config.train import WITHOUT_WARMUP
from tunesmith.data.split import fingerprint
from tunesmith.errors import ConfigError
from tunesmith.templates import mismatch, probes_for, stop_ids
from tunesmith.training import asking, estimated, sharing, trial
from tunesmith.training.forecast import Forecast, attention_of, body_of, forecast
from tunesmith.training.material import Material
from tunesmith.training.memory import advice, machine, worst
from tunesmith.training.memory.estimate import Estimate, needs
from tunesmith.training.memory.solve import Layout
from tunesmith.training.plan import Plan, cadence, identity, steps_of
from tunesmith.training.schedule import WATCHES_EVALUATION, schedule, warmup_steps_of
from tunesmith.training.sharing import Sharing
from tunesmith.training.sizing import few_steps
from tunesmith.training.units import Units, unit_of

_MOST_STEPS = 2**31 - 1
_COMPILER = 64 * 2**20
"""Bytes of torch's compiler in this process; 50 to 78 MiB were measured."""


def make(
    run: Run, material: Material, *, before: Layout | None = None, trains: bool = False
) -> Plan:
    """Every number of a run.

    Args:
        run: what was asked.
        material: what was found.
        before: layout of an earlier start of the run, which goes on in the same micro-batches.
        trains: whether this process is to carry it out.

    Raises:
        ConfigError: settings that contradict what was found.
    """
    lengths, global_batch = material.data.train.lengths, run.global_batch()
    tokens = int(lengths.sum())
    unit = unit_of(run, carries_state=material.facts.carries_state)
    packing, units = unit != "examples", Units(lengths, run, unit)
    per_epoch, steps = steps_of(
        units.count,
        global_batch=global_batch,
        epochs=run.train.num_train_epochs,
        max_steps=run.train.max_steps,
    )
    _refuse_endless(run, steps)
    estimate = needs(run, material)
    layout, shared, used = _laid_out(run, material, units, estimate, steps=steps, before=before)
    _check_evaluation(run, held_out=bool(material.data.eval))
    cadences = _cadences(run, per_epoch=per_epoch, steps=steps, held_out=bool(material.data.eval))
    coming = forecast(
        run,
        material,
        units,
        steps=steps,
        per_epoch=per_epoch,
        micro_batch_tokens=layout.tokens,
        computed=shared.computed(tokens) / tokens,
        recompute=layout.recompute / max(estimate.layers, 1),
        save_every=cadences["save_every"],
        eval_every=cadences["eval_every"],
        compiled=before.compiled if before else None,
    )
    layout = used(trial.made_here() and trains)
    return Plan(
        **_described(run, material),
        **cadences,
        **_counted(run, material, packed=packing),
        packs=units.count if packing else None,
        unit=unit,
        epochs=run.train.num_train_epochs if run.train.max_steps is None else steps / per_epoch,
        batch_per_device=run.batch()[0],
        accumulation=run.batch()[1],
        ranks=1,
        global_batch=global_batch,
        steps_per_epoch=per_epoch,
        steps=steps,
        **_computed(layout, estimate, coming),
        **shared.of_plan(tokens, scaled=material.data.sampled is not None),
        notes=(
            *_notes(run, material, steps=steps, warmup_steps=cadences["warmup_steps"]),
            *_memory_notes(run, material, layout, estimate, before=before),
            *(note for note in (estimate.note, coming.note) if note),
            *([] if run.train.max_steps else few_steps(steps, per_epoch=per_epoch)),
        ),
        identity=identity(
            run,
            model=_model_fingerprint(material),
            adapter=material.adapter_fingerprint,
            data=_data_fingerprint(run, material),
            global_batch=global_batch,
            packing=packing,
            precision=material.precision.name,
        ),
    )


def _laid_out(
    run: Run,
    material: Material,
    units: Units,
    estimate: Estimate,
    *,
    steps: int,
    before: Layout | None,
) -> tuple[Layout, Sharing, Callable[[bool], Layout]]:
    """The layout of micro-batches, that of the first start if there was one, and what is shared.

    With them a function from whether the trial was made here to the layout with what it needs.
    """
    packing, global_batch = units.unit != "examples", run.global_batch()
    away = material.elsewhere
    free = away.free if away else machine.free_bytes(estimate.device)

    def placed(layout: Layout) -> tuple[Callable[[bool], Layout], Sharing]:
        shared = sharing.decide(
            run,
            material,
            units,
            steps=steps,
            max_tokens=layout.tokens,
            body=body_of(material.facts),
            before=before.share if before else None,
        )
        tokens, use = worst.used(
            units, material.data.train, steps=steps, max_tokens=layout.tokens, share=shared.on
        )

        def used(tried: bool) -> Layout:
            known = use._replace(tried=tried)
            return estimate.keeping(layout, free=free, tokens=tokens, use=known)

        return used, shared

    if before is not None:
        used, shared = placed(before)
        if not advice.beyond(used(False), estimate.device):
            return used(False), shared, used
    used, shared = placed(
        layout_for(run, material, estimate, global_batch=global_batch, packing=packing, free=free)
    )
    return used(False), shared, used


def _computed(layout: Layout, estimate: Estimate, coming: Forecast) -> dict[str, Any]:
    """How steps are computed, and what that takes."""
    compiled = coming.compiling.on
    compiler = _COMPILER if compiled and estimate.device == "cpu" else 0
    return {
        "compiled": compiled,
        "compiling": coming.compiling.why,
        "seconds": coming.seconds,
        "forecast": coming,
        "recompute": layout.recompute,
        "layers": estimate.layers,
        "micro_batch_tokens": layout.tokens,
        "memory_needed": layout.needed + compiler,
        "memory_free": layout.free,
        "memory_components": {**layout.components, **({"compiler": compiler} if compiler else {})},
        "memory_moment": layout.moment,
    }


def layout_for(
    run: Run, material: Material, estimate: Estimate, *, global_batch: int, packing: bool, free: int
) -> Layout:
    """How many tokens a micro-batch holds in so much memory, and what is computed again."""
    lengths = np.sort(material.data.train.lengths)[::-1]
    largest_step = int(lengths[:global_batch].sum())
    return estimate.layout(
        longest=int(lengths[0]),
        step_tokens=global_batch * run.dataset.cutoff_len if packing else largest_step,
        may_recompute=not run.model.disable_gradient_checkpointing,
        free=free,
    )


def _counted(run: Run, material: Material, *, packed: bool) -> dict[str, Any]:
    """Examples and tokens, and what of the plan is scaled from a sample of them."""
    examples, lengths = material.data.train, material.data.train.lengths
    return {
        "estimate": estimated.of_plan(
            material.data.sampled, packed=packed, max_steps=run.train.max_steps
        ),
        "train_examples": len(examples),
        "eval_examples": len(material.data.eval),
        "tokens_per_epoch": int(lengths.sum()),
        "trained_tokens_per_epoch": int(examples.num_trained.sum()),
        "longest": int(lengths.max()),
    }


def _described(run: Run, material: Material) -> dict[str, Any]:
    """What the plan says of the material: names, reasons, counts."""
    chosen = stop_ids(material.renderer, material.tokenizer)
    return {
        "trainable": material.trainable,
        "parameters": material.parameters,
        "model": _model(run, material),
        "template": material.renderer.name + _why(run),
        "method": _method(run),
        "linear_modules": material.targets,
        "device": _device(material),
        "precision": f"{material.precision.name} ({material.precision.reason})",
        "attention": _attention(run, material),
        "stop_tokens": tuple(str(material.tokenizer.backend.id_to_token(i)) for i in chosen),
        "output_dir": str(run.output.output_dir),
        "day": str(material.day),
        "ledger": (
            *estimated.told(tuple(material.data.ledger.lines()), material.data.sampled),
            *material.data.mix_table,
        ),
        "mix": tuple(part.as_dict() for part in material.data.mix),
    }


def _refuse_endless(run: Run, steps: float) -> None:
    if steps > _MOST_STEPS:
        key = "num_train_epochs" if run.train.max_steps is None else "max_steps"
        raise ConfigError(
            run.where(key), got=flat(run)[key], need=f"no more than {_MOST_STEPS:,} steps in all"
        )


def _cadences(run: Run, *, per_epoch: int, steps: int, held_out: bool) -> dict[str, Any]:
    """How often things happen, in steps."""
    train, output = run.train, run.output
    evaluating = _every(run.eval.eval_strategy, run.eval_every, per_epoch, steps)
    warmup = warmup_steps_of(
        steps, warmup_steps=train.warmup_steps, warmup_ratio=train.warmup_ratio
    )
    warmup = 0 if train.lr_scheduler_type in WITHOUT_WARMUP else warmup
    schedule(  # refuses what it cannot use now, not after the model has been loaded
        train.lr_scheduler_type,
        learning_rate=train.learning_rate,
        warmup_steps=warmup,
        steps=steps,
        options=train.lr_scheduler_kwargs,
        where=run.where("lr_scheduler_kwargs"),
    )
    return {
        "warmup_steps": warmup,
        "log_every": cadence(output.logging_steps, steps=steps),
        "save_every": _every(output.save_strategy, output.save_steps, per_epoch, steps),
        "eval_every": evaluating if held_out else None,
    }


def _model_fingerprint(material: Material) -> str:
    """Of the weights, and of the rows that are added to them."""
    added = material.words.fingerprint if material.words else ""
    return " ".join(part for part in (material.model_fingerprint, added) if part)


def _data_fingerprint(run: Run, material: Material) -> str:
    """Of what is learned; held-out rows count only where something watches them."""
    watched, sampled = _watching(run), material.data.sampled
    of = "" if sampled is None else f"sample of {sampled.rows} of {sampled.of} rows: "
    of += f"media {material.family.identity()}: " if material.family else ""
    return of + fingerprint(material.data.train, material.data.eval if watched else None)


def _every(strategy: str, every: float, per_epoch: int, steps: int) -> int | None:
    if strategy == "no":
        return None
    return per_epoch if strategy == "epoch" else cadence(every, steps=steps)


def _check_evaluation(run: Run, *, held_out: bool) -> None:
    watching = _watching(run)
    if watching and not held_out:
        raise ConfigError(
            run.where(watching[0]), got=flat(run)[watching[0]], need="held-out rows to watch",
            hint="val_size: 0.1, or eval_dataset",
        )  # fmt: skip


def _watching(run: Run) -> list[str]:
    """Keys that make what is learned depend on evaluations."""
    keys = ("load_best_model_at_end", "early_stopping_steps")
    watches = run.train.lr_scheduler_type in WATCHES_EVALUATION
    watching = [key for key in keys if getattr(run.eval, key)]
    return [*watching, "lr_scheduler_type"] if watches else watching


def _model(run: Run, material: Material) -> str:
    known = material.facts
    size = (
        f"{known.parameters / 1e9:.2f} B"
        if known.parameters >= 1e9
        else (f"{known.parameters / 1e6:.1f} M")
    )
    return (
        f"{run.model.model_name_or_path} ({known.model_type}, {size} parameters, "
        f"{known.layers} layers)"
    )


def _device(material: Material) -> str:
    return material.elsewhere.name if material.elsewhere else material.precision.device.type


def _why(run: Run) -> str:
    return " (named in the run file)" if run.dataset.template else ""


def _attention(run: Run, material: Material) -> str:
    """How documents are kept apart; the kernel that was asked for in place of the usual one."""
    usual, asked = attention_of(material), asking.kernel(run)
    return usual.partition(" (")[0] + asked if asked else usual


def _method(run: Run) -> str:
    method = run.method
    if method.finetuning_type == "lora":
        dropout = f", dropout {method.lora_dropout:g}" if method.lora_dropout else ""
        kind = "dora" if method.use_dora else "pissa" if method.pissa_init else "lora"
        held = f", over a {run.model.quantization} base" if run.model.quantization else ""
        return (
            f"{method.stage}, {kind} rank {method.lora_rank}, alpha {method.alpha:g}{dropout}{held}"
        )
    return f"{method.stage}, {method.finetuning_type}"


def _memory_notes(
    run: Run, material: Material, layout: Layout, estimate: Estimate, *, before: Layout | None
) -> tuple[str, ...]:
    """What would help where the need is more than what is free; a layout that is not the first."""
    notes = []
    if layout.needed > layout.free and not advice.beyond(layout, estimate.device):
        found = advice.remedies(run, material, estimate, layout)
        notes.append(advice.note(found, layout))
    if before and (before.tokens, before.recompute) != (layout.tokens, layout.recompute):
        notes.append(
            f"{advice.gib(layout.free)} are free now, too few for the micro-batches of the first "
            f"start ({before.tokens:,} tokens, {before.recompute} layers computed again): what is "
            "learned is the same but for rounding, not bit by bit"
        )
    return tuple(notes)


def _notes(run: Run, material: Material, *, steps: int, warmup_steps: int) -> tuple[str, ...]:
    notes = [*run.notes, *asking.notes(run, material), *material.adapter_notes]
    notes += [*material.renderer.notes, *_against_the_models_own(run, material)]
    notes += material.tokenizer_notes
    if material.facts.weight_bytes is None:
        notes.append("the weights are not there yet: config.json is what this plan is made from")
    if unfused := blocks.look(material.skeleton).note:
        notes.append(unfused)
    if material.precision.note:
        notes.append(material.precision.note)
    limit = material.facts.context_length
    longest = int(material.data.train.lengths.max())
    if limit is not None and longest > limit:
        notes.append(f"examples of up to {longest} tokens exceed the model's context of {limit}")
    notes += estimated.notes(
        material.data.sampled, longest=longest, cutoff_len=run.dataset.cutoff_len
    )
    if steps <= warmup_steps:
        notes.append(f"all {steps} steps are warm-up: the learning rate never reaches its peak")
    if run.output.save_only_model:
        notes.append("save_only_model: checkpoints cannot be resumed from")
    return tuple(notes)


def _against_the_models_own(run: Run, material: Material) -> list[str]:
    """Where the template of the run says something else than the model's own.

    Raises:
        ConfigError: it does, and the run refuses that.
    """
    probes = probes_for(material.renderer, tools=material.data.tools)
    found = mismatch(material.renderer, material.tokenizer, probes)
    if not found:
        return []
    first = found[0]
    named = f"template {material.renderer.name}" if run.dataset.template else "default_system"
    if run.dataset.template_mismatch == "refuse":
        raise ConfigError(
            run.where("template_mismatch"),
            got=f"{first.probe}: {first.ours!r}",
            need=f"{first.theirs!r}, as the model's own template has it",
            hint="no template: the model's own is used; or template_mismatch=report",
        )
    return [
        f"{named} differs from the model's own in "
        f"{', '.join(m.probe for m in found)}: {first.ours!r} where the model has "
        f"{first.theirs!r}; it is saved with the result, so serve that"
    ]
