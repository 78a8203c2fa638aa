"""What will happen: every number of a run resolved, before any weight is loaded.

`Plan` is printed by `tunesmith plan`, shown first by `tunesmith train` and stored in every
checkpoint. Its `identity` holds what changes what is learned, and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from dataclasses import dataclass
from typing import Any

from tunesmith.config.run import Run, flat
from tunesmith.training import estimated
from tunesmith.training.forecast import Forecast
from tunesmith.training.metrics import clock
from tunesmith.training.units import Unit


@dataclass(frozen=True)
class Plan:
    """Every number of a run, resolved."""

    model: str
    """Name or path as given, architecture and size."""
    template: str
    """Name and why."""
    method: str
    linear_modules: tuple[str, ...]
    """Kinds of linear module that get an adapter."""
    trainable: int
    """Parameters that are trained."""
    parameters: int
    """All parameters, adapters included."""
    train_examples: int
    eval_examples: int
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    longest: int
    """Tokens of the longest example."""
    packs: int | None
    """Number of packs or buckets where `packing` makes them the unit of a step."""
    epochs: float
    batch_per_device: int
    accumulation: int
    ranks: int
    global_batch: int
    """Examples (or packs, or buckets) of one optimizer step."""
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    log_every: int
    save_every: int | None
    """`None`: only after the last step."""
    eval_every: int | None
    """`None`: only after the last step, where rows are held out."""
    device: str
    precision: str
    attention: str
    recompute: int
    """Layers, from the first, that are computed again in the backward pass."""
    layers: int
    micro_batch_tokens: int
    memory_needed: int
    """Bytes, estimated."""
    memory_free: int
    """Bytes that the run could have in all, with what its process has already."""
    seconds: float
    """Time in training steps, estimated."""
    stop_tokens: tuple[str, ...]
    output_dir: str
    ledger: tuple[str, ...]
    """What became of the rows that were read."""
    notes: tuple[str, ...]
    """What a careful reader would want to know."""
    identity: dict[str, Any]
    unit: Unit = "examples"
    """What the batch size counts."""
    mix: tuple[dict[str, Any], ...] = ()
    """What an epoch takes of each training data set; see `data.mix.Part`."""
    memory_components: dict[str, int] = dataclasses.field(default_factory=dict)
    """What of `memory_needed` is what: name to bytes."""
    memory_moment: str = ""
    """When the run needs the most."""
    share: bool = False
    """Whether what the rows of a step begin with in common is computed once."""
    prefix_sharing: str = "off"
    """How many tokens that saves, or why it is not done."""
    computed_tokens_per_epoch: int = 0
    """Of `tokens_per_epoch` those that go through the model."""
    day: str = ""
    """The date that templates print which print one, YYYY-MM-DD: of the first start."""
    forecast: Forecast | None = None
    """Work, operations, pace, disk and money; `None`: of a plan that is not to be carried out."""

    estimate: dict[str, Any] | None = None
    """Rows of the sample, rows in all, names of what is scaled; `None`: nothing is."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return plain | {"forecast": self.forecast.as_dict() if self.forecast else None}

    def text(self, width: int | None = None) -> str:
        """The block that is printed before a run, wrapped to `width` columns."""
        percent = 100 * self.trainable / self.parameters
        rows = [
            ("model", self.model),
            ("template", f"{self.template}; stops at {' '.join(self.stop_tokens)}"),
            ("method", self.method),
            ("linear modules", ", ".join(self.linear_modules) or "none"),
            (
                "trainable",
                f"{self.trainable:,} || all: {self.parameters:,} || trainable%: {percent:.4f}",
            ),
            *((("estimate", estimated.line(self.estimate)),) if self.estimate else ()),
            ("examples", self._examples()),
            *(("", line) for line in self.ledger),
            ("tokens", self._tokens()),
            *self._layout(),
            ("epochs", f"{self._mark('epochs')}{self.epochs:g}"),
            ("batch per device", f"{self.batch_per_device}"),
            ("total batch", self._batch()),
            ("accumulation", f"{self.accumulation}"),
            ("steps", self._steps()),
            ("logging", f"every {_steps(self.log_every)}"),
            ("saving", _cadence(self.save_every, self.steps)),
            ("evaluation", self._evaluation()),
            ("precision", self.precision),
            ("attention", self.attention),
            ("prefix sharing", self.prefix_sharing),
            ("recompute", self._recompute()),
            ("micro-batch", self._micro_batch()),
            ("memory", self._memory()),
            *((("", self._parts()),) if self.memory_components else ()),
            *self._costs(),
            ("output", self.output_dir),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(row_text(name, value, width) for name, value in rows)

    def _mark(self, key: str) -> str:
        return estimated.MARK if self.estimate and key in self.estimate["scaled"] else ""

    @property
    def _about(self) -> str:
        """Before what is predicted from scaled figures, or from counted ones."""
        return estimated.MARK if self.estimate else "about "

    def _examples(self) -> str:
        train, held = self._mark("train_examples"), self._mark("eval_examples")
        return f"{train}{self.train_examples:,} to train on, {held}{self.eval_examples:,} held out"

    def _tokens(self) -> str:
        mark = self._mark("tokens_per_epoch")
        share = 100 * self.trained_tokens_per_epoch / max(self.tokens_per_epoch, 1)
        return (
            f"{mark}{self.tokens_per_epoch:,} per epoch, {mark}{share:.1f} % trained; "
            f"longest example {'of the sample ' if mark else ''}{self.longest:,}"
        )

    def _layout(self) -> list[tuple[str, str]]:
        """What padding would have cost, and what packs leave empty."""
        if self.forecast is None:
            return []
        made, mark = self.forecast.layout, self._mark("forecast")
        factor = made.padded_positions / max(made.positions, 1)
        text = f"no padding; batches of {self.batch_per_device} padded to their longest would "
        text += f"compute {mark}{factor:.2f} times as much" if factor > 1.005 else "compute as much"
        if self.packs is not None:
            text += f"; {mark}{self.packs:,} {self.unit}, {mark}{made.empty_share:.1%} of their "
            text += "room empty"
        return [("layout", text.replace("%", " %"))]

    def _costs(self) -> list[tuple[str, str]]:
        """Time, operations, disk, money."""
        if self.forecast is None:
            return [("time", f"about {duration(self.seconds)}")]
        coming, mark = self.forecast, self._mark("forecast")
        time = f"{self._about}{duration(coming.seconds)}, "
        time += f"{mark}{duration(coming.seconds_per_step)} a step"
        if coming.eval_seconds:
            time += f", and {mark}{duration(coming.eval_seconds)} in evaluations"
        spent = coming.flops._asdict()
        shares = [f"{k} {v / coming.flops.total:.0%}" for k, v in spent.items() if v]
        parts = ", ".join(shares).replace("%", " %")
        disk = f"{_bytes(coming.disk.total)}: result {_bytes(coming.disk.result)}"
        if coming.disk.checkpoints:
            count = coming.disk.checkpoints
            each = "" if count == 1 else " each"
            what = "checkpoint" if count == 1 else "checkpoints"
            disk += f", {count} {what} of {_bytes(coming.disk.checkpoint)}{each}"
        rows = [
            ("time", time),
            ("", coming.pace.source),
            ("operations", f"{mark}{operations(coming.flops.total)}: {parts}"),
            ("disk", disk),
        ]
        if coming.cost is not None:
            rows.append(
                ("cost", f"{self._about}{coming.cost:,.2f} at {coming.price_per_hour:g} an hour")
            )
        return rows

    def _batch(self) -> str:
        what = "buckets of examples of like length" if self.unit == "buckets" else self.unit
        return f"{self.global_batch} {what} per optimizer step, without padding"

    def _steps(self) -> str:
        count = self.packs if self.packs is not None else self.train_examples
        mark, of_epoch = self._mark("steps"), self._mark("steps_per_epoch")
        warm = f", {mark}{self.warmup_steps} of them warm-up" if self.warmup_steps else ""
        last = 0 if of_epoch else count % self.global_batch
        short = f"; the last step of an epoch holds {last}" if last else ""
        return f"{mark}{self.steps:,} ({of_epoch}{self.steps_per_epoch:,} per epoch{warm}{short})"

    def _recompute(self) -> str:
        return f"{self.recompute} of {self.layers} layers" if self.recompute else "nothing"

    def _micro_batch(self) -> str:
        mark = self._mark("micro_batch_tokens")
        return f"up to {mark}{self.micro_batch_tokens:,} tokens on {self.device}"

    def _memory(self) -> str:
        return f"{self._about}{_size(self.memory_needed)} of {_size(self.memory_free)} free"

    def _parts(self) -> str:
        """Components of at least a twentieth, largest first, and when they add up so."""
        parts = sorted(self.memory_components.items(), key=lambda part: -part[1])
        large = [p for p in parts if p[1] >= self.memory_needed / 20]
        said = ", ".join(f"{name} {_size(size)}" for name, size in large)
        return f"{said} at the fullest moment, {self.memory_moment}"

    def _evaluation(self) -> str:
        if not self.eval_examples:
            return "none: no rows are held out (val_size, eval_dataset)"
        if self.eval_every is None:
            return "after the last step"
        if self.eval_every > self.steps:
            return f"after the last step; every {self.eval_every} steps never comes in {self.steps}"
        return f"every {_steps(self.eval_every)} and after the last"


_COLUMN = 20
"""Where the values of the block begin."""


def row_text(name: str, value: str, width: int | None) -> str:
    """A row of the block; in a terminal it is wrapped between words, below its own column."""
    head = f"  {name:<{_COLUMN - 3}} "
    if width is None or len(head) + len(value) <= width:
        return head + value
    return textwrap.fill(
        value,
        max(width, _COLUMN + 20),
        initial_indent=head,
        subsequent_indent=" " * _COLUMN,
        break_long_words=False,
        break_on_hyphens=False,
    )


def steps_of(
    units: int, *, global_batch: int, epochs: float, max_steps: int | None
) -> tuple[int, int]:
    """(optimizer steps per epoch, of the run).

    The last step of an epoch may be short, so no row is left out: 3,617 examples by 8 are 453
    steps, where LLaMA-Factory takes 452 and drops one.
    """
    per_epoch = -(-units // global_batch)
    if max_steps is not None:
        return per_epoch, max_steps
    return per_epoch, math.ceil(min(epochs * per_epoch, 1e18))  # a product may be infinite


def cadence(every: float, *, steps: int) -> int:
    """Steps between two events; below 1 a share of all steps."""
    return max(1, math.ceil(every * steps)) if every < 1 else int(every)


LEARNED = (
    "stage", "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target",
    "additional_target", "create_new_adapter", "use_rslora", "loraplus_lr_ratio",
    "use_dora", "pissa_init", "pissa_iter",
    "freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules",
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_ratio", "warmup_steps",
    "weight_decay", "max_grad_norm", "optim", "adam_beta1", "adam_beta2", "adam_epsilon", "seed",
    "resize_vocab", "add_tokens", "add_special_tokens", "new_special_tokens_config",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "early_stopping_steps",
    "disable_shuffling",
)  # fmt: skip
"""Keys of the run file that change what is learned, with the fingerprints of model and data."""

_PACKS = 2
"""How packs are made: a run that goes on with others would see some rows twice."""

_WATCH_EVALUATION = ("load_best_model_at_end", "early_stopping_steps")


def identity(
    run: Run,
    *,
    model: str,
    adapter: str,
    data: str,
    global_batch: int,
    packing: bool,
    precision: str,
) -> dict[str, Any]:
    """What changes what is learned. Epochs and steps are not in it: a run can be extended.

    Args:
        run: what was asked.
        model: fingerprint of the weights.
        adapter: fingerprint of the adapters it starts from.
        data: fingerprint of the examples' ids and masks and, where they matter, of the
            held-out ones.
        global_batch: examples per optimizer step.
        packing: whether packs are the unit.
        precision: dtypes of weights and arithmetic.
    """
    keys = flat(run)
    parts: dict[str, Any] = {key: keys[key] for key in LEARNED if key in keys}
    parts["optim"] = run.train.optimizer
    # what was not there in former versions counts only where it is used: their runs go on
    if run.train.optim_args:
        parts["optim_args"] = run.train.optim_args
    if run.model.flash_attn != "auto":
        parts["flash_attn"] = run.model.flash_attn
    if run.model.quantization:
        parts["quantization"] = str(run.model.quantization)
    watches = any(keys.get(key) for key in _WATCH_EVALUATION)
    if watches or keys["lr_scheduler_type"] in ("reduce_lr_on_plateau", "greedy"):
        parts["eval_steps"] = [keys["eval_strategy"], run.eval_every]
    if packing:  # the cutoff decides which examples share a pack, even where it cuts none
        parts["cutoff_len"] = run.dataset.cutoff_len
        parts["packs"] = _PACKS
    parts |= {
        "model": model,
        "adapter": adapter,
        "data": data,
        "global_batch": global_batch,
        "packing": packing,
        "precision": precision,
    }
    return parts


def _steps(count: int) -> str:
    return "step" if count == 1 else f"{count} steps"


def _cadence(every: int | None, steps: int) -> str:
    if every is None or every > steps:
        return "after the last step"
    return f"every {_steps(every)} and after the last"


def duration(seconds: float) -> str:
    """`0.013 s`, `4.2 s`, `1:02:03`: two digits that count, at least."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return clock(seconds)


def compared(predicted: float, happened: float) -> str:
    """How a prediction did: `predicted 0:01:40, took 0:01:46 (6 % longer)`."""
    off = happened / max(predicted, 1e-9) - 1
    word = f"{abs(off):.0%} {'longer' if off > 0 else 'shorter'}".replace("%", " %")
    verdict = "as predicted" if abs(off) < 0.005 else word
    return f"predicted {duration(predicted)}, took {duration(happened)} ({verdict})"


def operations(count: float) -> str:
    """`3.1 TFLOP`."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MFLOP"


def _bytes(count: int) -> str:
    if count >= 1 << 30:
        return f"{count / (1 << 30):,.1f} GiB"
    return f"{count / (1 << 20):,.1f} MiB"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
