"""What will happen: every number of a run resolved, before any weight is loaded.

`Plan` is printed by `tunesmith plan`, shown first by `tunesmith train` and stored in every
checkpoint. Its `identity` holds what changes what is learned, and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from tunesmith.config.method import Full
from tunesmith.config.run import Run, flat
from tunesmith.training import block
from tunesmith.training.forecast import Forecast
from tunesmith.training.memory.solve import Layout
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
    compiled: bool = False
    """Whether kernels are compiled."""
    compiling: str = "off"
    """What is compiled and what that saves, or why nothing is."""
    computed_tokens_per_epoch: int = 0
    """Of `tokens_per_epoch` those that go through the model."""
    day: str = ""
    """The date that templates print which print one, YYYY-MM-DD: of the first start."""
    forecast: Forecast | None = None
    """Work, operations, pace, disk and money; `None`: of a plan that is not to be carried out."""

    estimate: dict[str, Any] | None = None
    """Rows of the sample, rows in all, names of what is scaled; `None`: nothing is."""

    @property
    def layout(self) -> Layout:
        """Of the micro-batches, and the memory that they need."""
        return Layout(
            self.micro_batch_tokens,
            self.recompute,
            self.memory_needed,
            self.memory_free,
            self.memory_components,
            self.memory_moment,
            self.share,
            self.compiled,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return plain | {"forecast": self.forecast.as_dict() if self.forecast else None}

    def text(self, width: int | None = None) -> str:
        """The block that is printed before a run, wrapped to `width` columns."""
        return block.text(self, width)


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

_USUALLY_FROZEN = Full().frozen_parts
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
    if run.method.frozen_parts != _USUALLY_FROZEN:
        parts["frozen"] = sorted(run.method.frozen_parts)
    if only := getattr(run.method, "train_modules", ()):
        parts["train_modules"] = sorted(only)
    if run.train.moe_aux_loss_coef is not None:
        parts["moe_aux_loss_coef"] = run.train.moe_aux_loss_coef
    if run.model.quantization:
        parts["quantization"] = str(run.model.quantization)
    if run.eval.predict_with_generate:
        parts["generate"] = run.generate.model_dump(mode="json")
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
