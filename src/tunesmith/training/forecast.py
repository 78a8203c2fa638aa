"""What a run will cost: time, operations, disk, money, and what its layout wastes.

`planning.py` resolves what was asked; here the numbers of it are turned into predictions. A run
compares them at its end with what happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tunesmith.compute import flash_cpu, side_by_side, varlen
from tunesmith.compute.precision import speed as speed_of
from tunesmith.config.run import Run
from tunesmith.data.packing import best_fit_decreasing
from tunesmith.data.statistics import Batching, padded
from tunesmith.models.adapters import trainable
from tunesmith.models.facts import Facts
from tunesmith.training import update
from tunesmith.training.asked_adapter import lora_spec
from tunesmith.training.compiling import Compiling, decide
from tunesmith.training.flops import Flops, flops
from tunesmith.training.material import Material
from tunesmith.training.memory.machine import free_bytes
from tunesmith.training.pace import SHARE_OF_PEAK, Cost, Pace, Passes, Work, of_table
from tunesmith.training.sights import Sights, sights
from tunesmith.training.trial import measure
from tunesmith.training.units import Units

SHARE_OF_A_PRODUCT = 0.4
"""Share of the speed of a small product that training reaches, where no trial could be made."""
_LOOKED_AT = 64
"""Optimizer steps that are laid out to count micro-batches."""
_LOGITS_AT_ONCE = 2**24
_WEIGHT, _STATE = 4, 8
"""Bytes of a trained parameter in a checkpoint, and of AdamW's two moments."""
_BESIDE = 300_000
"""Bytes of plan, log, card and state beside the weights."""


class Layout(NamedTuple):
    """What the layout of the batches makes of the tokens of an epoch."""

    positions: int
    """Computed by the model; those that fill up documents which stand side by side included."""
    empty_share: float
    """Share of the room of packs that stays empty (it costs nothing: packs are not padded)."""
    padded_positions: int
    """What batches of `per_device_train_batch_size`, padded to their longest, would compute."""
    micro_batches_per_step: float


class Disk(NamedTuple):
    """Bytes below `output_dir`."""

    checkpoint: int
    checkpoints: int
    """How many are there at one time, the one that is being written included."""
    result: int

    @property
    def total(self) -> int:
        """At the fullest moment."""
        return self.checkpoint * self.checkpoints + self.result


class Forecast(NamedTuple):
    """What a run will cost."""

    work: Work
    layout: Layout
    flops: Flops
    pace: Pace
    compiling: Compiling
    seconds: float
    """In training steps."""
    seconds_per_step: float
    eval_seconds: float
    """In evaluations on held-out examples, all of them together."""
    disk: Disk
    note: str
    """What is not in it."""
    price_per_hour: float | None
    cost: float | None
    """In the currency of `price_per_hour`."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "work": self.work._asdict(),
            "layout": self.layout._asdict(),
            "flops": {**self.flops._asdict(), "total": self.flops.total},
            "pace": {
                **self.pace._asdict(),
                "both": self.pace.both._asdict(),
                "forward": self.pace.forward._asdict(),
            },
            "compiling": self.compiling._asdict(),
            "seconds": self.seconds,
            "seconds_per_step": self.seconds_per_step,
            "eval_seconds": self.eval_seconds,
            "disk": {**self.disk._asdict(), "total": self.disk.total},
            "price_per_hour": self.price_per_hour,
            "cost": self.cost,
        }


def forecast(
    run: Run,
    material: Material,
    units: Units,
    *,
    steps: int,
    per_epoch: int,
    micro_batch_tokens: int,
    computed: float,
    recompute: float,
    save_every: int | None,
    eval_every: int | None,
    compiled: bool | None,
) -> Forecast:
    """Predict a run.

    Args:
        run: what was asked.
        material: what was found.
        units: what the optimizer steps hold.
        steps: of the run.
        per_epoch: steps of an epoch.
        micro_batch_tokens: the most tokens of a micro-batch.
        computed: share of the tokens that is computed; rows may share what they begin with.
        recompute: share of the layers that is computed twice, 0 to 1.
        save_every: steps between checkpoints.
        eval_every: steps between evaluations.
        compiled: whether kernels were compiled at the first start; `None`: this is it.

    Raises:
        ConfigError: they are to be compiled, and cannot be.
    """
    examples, known = material.data.train, material.facts
    lengths = examples.lengths
    batches, squares_look = _looked_at(units, lengths, steps, capacity=micro_batch_tokens)
    epochs = steps / per_epoch
    work = Work(
        steps=steps,
        batches=batches * steps,
        tokens=float(lengths.sum()) * epochs * computed,
        squares=float((lengths.astype(float) ** 2).sum()) * epochs,
        trained_tokens=float(examples.num_trained.sum()) * epochs,
    )
    own = run.method.finetuning_type != "lora"
    of_flops: dict[str, Any] = {
        "body": body_of(known),
        "attention_width": _attention_width(known, lengths),
        "head": known.head_parameters,
        "own_weights": own,
        "own_head": run.method.finetuning_type == "full",
        "reached": reached(run, known),
    }
    pace = _pace(run, material, work, of_flops, lengths=lengths, batch=squares_look)
    beside, media = sights(run, material), float(examples.num_media.sum()) * epochs
    seconds = pace.seconds(work, recompute=recompute, reached=of_flops["reached"])
    seconds += beside.seconds(media, pace, body=of_flops["body"])
    compiling = decide(
        run, material.precision, seconds, here=material.elsewhere is None, before=compiled
    )
    seconds = compiling.seconds(seconds)
    evaluations = _count(steps, eval_every) if len(material.data.eval) else 0
    evaluating = evaluations * _eval_seconds(material, pace, beside)
    price = run.output.price_per_hour
    return Forecast(
        work=work,
        layout=_layout(
            run, units, lengths, batches,
            filled=_filled(units, lengths, steps, micro_batch_tokens) if known.carries_state else 1,
        ),
        flops=flops(
            tokens=work.tokens, squares=work.squares, trained_tokens=work.trained_tokens,
            recompute=recompute, **of_flops,
        )._replace(media=beside.operations(media)),
        pace=pace,
        compiling=compiling,
        seconds=seconds,
        seconds_per_step=seconds / max(steps, 1),
        eval_seconds=evaluating,
        disk=_disk(run, material, saves=_count(steps, save_every)),
        note=beside.note,
        price_per_hour=price,
        cost=None if price is None else price * (seconds + evaluating) / 3600,
    )  # fmt: skip


def body_of(known: Facts) -> int:
    """Parameters in the products of a token, without embedding, head and what it passes by."""
    passed = known.idle_parameters + known.aside_parameters
    lookup = 0 if known.tied else known.embedding_parameters
    return known.parameters - lookup - known.head_parameters - passed


def _attention_width(known: Facts, lengths: np.ndarray) -> float:
    """Width of all query heads of all layers; a layer with a window counts by what it sees.

    Of a document of L tokens a window of W lets 2 W L - W² of L² be seen, where L exceeds it.
    """
    whole = lengths.astype(float)
    reach = np.minimum(whole, known.sliding_window or np.inf)
    seen = (2 * reach * whole - reach**2).sum() / max((whole**2).sum(), 1.0)
    layers = known.layers - known.windowed_layers * (1 - seen)
    return float(layers * known.heads * known.head_dim)


def attention_of(material: Material) -> str:
    """Which kernel keeps documents apart on the device, and why that one."""
    known, precision = material.facts, material.precision
    if known.carries_state:
        return (
            "documents of like length side by side, at most a fifth padding: some layers carry "
            "state from token to token"
        )
    if precision.device.type == "cpu":
        if flash_cpu.available():
            return (
                "each document alone, no padding (torch's CPU flash kernel, like lengths batched)"
            )
        return "each document alone, no padding (torch SDPA, like lengths batched)"
    if precision.dtype == torch.float32 or known.head_dim > 256:
        why = "fp32" if precision.dtype == torch.float32 else f"heads of width {known.head_dim}"
        return (
            f"each document alone, no padding (torch SDPA one by one: {why} has no varlen kernel)"
        )
    kernel = varlen.kernel()
    words = {
        "flash_attn": "all documents in one call: flash_attn is installed",
        "torch_varlen": "all documents in one call of torch's varlen kernel: flash_attn is not "
        "installed",
        "sdpa": "torch SDPA one by one: neither flash_attn nor torch's varlen kernel is there",
    }
    place = "; by what is installed here" if material.elsewhere else ""
    return f"each document alone, no padding ({words[kernel]}{place})"


def _looked_at(
    units: Units, lengths: np.ndarray, steps: int, *, capacity: int
) -> tuple[float, int]:
    """(micro-batches of a step, tokens of a usual micro-batch), from steps all over the run."""
    looked_at = _steps_of(units, lengths, steps)
    batches = sum(len(best_fit_decreasing(held, capacity=capacity)) for held in looked_at)
    tokens = sum(map(sum, looked_at))
    return batches / len(looked_at), max(1, tokens // max(batches, 1))


def _filled(units: Units, lengths: np.ndarray, steps: int, capacity: int) -> float:
    """Positions of documents that stand side by side, as a multiple of their tokens."""
    tokens = positions = 0
    for held in _steps_of(units, lengths, steps):
        for batch in best_fit_decreasing(held, capacity=capacity):
            inside = [held[i] for i in batch.tolist()]
            tokens += sum(inside)
            for rows in side_by_side.together(inside):
                positions += len(rows) * max(inside[row] for row in rows)
    return positions / tokens


def _steps_of(units: Units, lengths: np.ndarray, steps: int) -> list[list[int]]:
    """Lengths of the documents of some steps, from all over the run."""
    numbers = np.unique(np.linspace(1, max(steps, 1), min(steps, _LOOKED_AT)).astype(int))
    return [lengths[units.examples(number)].tolist() for number in numbers.tolist()]


def _layout(
    run: Run, units: Units, lengths: np.ndarray, batches: float, *, filled: float
) -> Layout:
    tokens, rows = int(lengths.sum()), run.batch()[0]
    how = Batching(
        batch_size=rows,
        global_batch=run.global_batch(),
        cutoff_len=run.dataset.cutoff_len,
        seed=run.train.seed,
        shuffle=not run.dataset.disable_shuffling,
        unit=units.unit,
    )
    packed = units.unit != "examples"
    room = units.count * run.dataset.cutoff_len
    return Layout(
        positions=round(tokens * filled),
        empty_share=1 - tokens / room if packed else 0.0,
        padded_positions=padded(lengths, rows, how),
        micro_batches_per_step=batches,
    )


def _pace(
    run: Run,
    material: Material,
    work: Work,
    of_flops: Mapping[str, Any],
    *,
    lengths: np.ndarray,
    batch: int,
) -> Pace:
    """Measured here if the run is to be here, else of the table."""
    known, precision = material.facts, material.precision
    one = {"tokens": 1.0, "squares": 1.0, "trained_tokens": 1.0, "recompute": 0.0}
    unit = flops(**one, **of_flops)  # pyright: ignore[reportArgumentType]
    cost = Cost(unit.layers, unit.attention, unit.head)
    if material.elsewhere is not None:
        there, held = material.elsewhere, run.model.quantization
        per_step = update.counted(
            run.train.optimizer,
            [tuple(p.shape) for p in trainable(material.skeleton).values()],
            bandwidth=there.bandwidth * 1e9,
            speed=there.peak(torch.bfloat16) * SHARE_OF_PEAK,
        )
        return of_table(
            there, known, cost, dtype=precision.dtype, per_step=per_step,
            held=held.kind if held else None,
        )  # fmt: skip
    chunk = max(16, _LOGITS_AT_ONCE // known.vocab)
    trained_of_a_batch = work.trained_tokens / max(work.batches, 1)
    order = np.random.default_rng(run.train.seed).permutation(len(lengths))[: 1 << 14]
    found = measure(
        run,
        material.directory,
        known,
        precision,
        lengths=lengths[order],
        batch_tokens=batch,
        head_tokens=int(np.clip(trained_of_a_batch, 8, chunk)),
        trainable=material.trainable,
        kind=run.method.finetuning_type,
        spec=lora_spec(run) if run.method.finetuning_type == "lora" else None,
        free=free_bytes(precision.device.type),
    )
    if isinstance(found, Pace):
        return found
    speed = 2 * speed_of(precision.device, precision.dtype) * SHARE_OF_A_PRODUCT
    both = Passes(0.0, cost.body / speed, cost.square / speed)
    return Pace(
        per_step=0.0,
        both=both,
        forward=Passes(*(part / 3 for part in both)),
        per_trained_token=cost.head / speed,
        source=f"{100 * SHARE_OF_A_PRODUCT:.0f} % of the speed of a small product on this "
        f"{precision.device.type}, a rough guess: {found}",
    )


def reached(run: Run, known: Facts) -> float:
    """Share of the layers that a gradient reaches: none goes below the lowest that learns."""
    layers = getattr(run.method, "freeze_trainable_layers", 0)
    if run.method.finetuning_type != "freeze" or layers < 0:
        return 1.0
    return min(layers, known.layers) / known.layers


def _eval_seconds(material: Material, pace: Pace, beside: Sights) -> float:
    """One evaluation: forward passes alone."""
    held = material.data.eval
    lengths = held.lengths.astype(float)
    squares = float((lengths**2).sum())
    work = Work(steps=0, batches=0, tokens=float(lengths.sum()), squares=squares, trained_tokens=0)
    head = float(held.num_trained.sum()) * pace.per_trained_token
    seen = beside.seconds(
        float(held.num_media.sum()), pace, body=body_of(material.facts), trains=False
    )
    return pace.forward.seconds(work) + head / 2 + seen


def _count(steps: int, every: int | None) -> int:
    """How often something happens: after every so many steps, and after the last."""
    return 1 if every is None else math.ceil(steps / every)


def _disk(run: Run, material: Material, *, saves: int) -> Disk:
    """Bytes that the run writes."""
    output, known = run.output, material.facts
    beside = _BESIDE + _tokenizer_bytes(material.directory)
    trained = material.trainable
    whole = run.method.finetuning_type != "lora"
    frozen = known.parameters - trained if whole else 0
    frozen *= 4 if known.stored_dtype == "F32" else material.precision.dtype.itemsize
    weights = trained * _WEIGHT + max(frozen, 0)
    state = 0 if output.save_only_model else trained * _STATE
    limit = output.save_total_limit
    kept = 0 if output.save_strategy == "no" else saves
    kept = kept if limit is None else min(kept, limit + 1)
    stored = 2 if known.stored_dtype in ("BF16", "F16") else 4
    result = known.parameters * stored if whole else trained * _WEIGHT
    return Disk(weights + state + beside, kept, result + beside)


def _tokenizer_bytes(directory: Path) -> int:
    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
    paths = [directory / name for name in names]
    return sum(path.stat().st_size for path in paths if path.is_file())
