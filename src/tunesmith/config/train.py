"""How training goes, how it is watched, and what it leaves behind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt
from pydantic import BeforeValidator, Field, WithJsonSchema

from tunesmith.config import optimizers
from tunesmith.config.kinds import (
    Count,
    Flag,
    Folder,
    Interval,
    Limit,
    Names,
    Natural,
    Number,
    Positive,
    Resume,
    Says,
    Section,
    Steps,
    Table,
    Text,
    Warmup,
)

WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "greedy")
"""Schedules that begin at the full rate, as in transformers."""
GENERATED = ("eval_bleu-4", "eval_rouge-1", "eval_rouge-2", "eval_rouge-l", "eval_bleu",
             "eval_exact_match")  # fmt: skip
"""Metrics that `predict_with_generate` brings."""
TRACKERS = ("tensorboard", "wandb", "swanlab", "mlflow", "trackio")


def _trackers(value: object) -> object:
    """`none` is the field's word for an empty list."""
    names = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    names = tuple(n for n in names if n != "none")
    unknown = [n for n in names if n not in TRACKERS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not one of them")
    return names


def _metric(value: object) -> object:
    """HF takes `loss` and `eval_loss` for the same."""
    short = value in ("loss", "accuracy") or f"eval_{value}" in GENERATED
    return f"eval_{value}" if short else value


class Output(Section):
    """Where a run writes, how often, and who is told."""

    output_dir: Folder | None = None
    """Directory of the run: adapter or model, logs, plots, checkpoints."""
    overwrite_output_dir: Flag = False
    """Move a finished run of another plan that stands in `output_dir` aside, to
    `<output_dir>.old-N`. An unfinished run of the same plan goes on either way."""
    logging_steps: Steps = 10
    """Log every so many optimizer steps; below 1: this share of all steps."""
    save_strategy: Interval = "steps"
    """Save a checkpoint every `save_steps` (`steps`), after each epoch, or only at the end
    (`no`)."""
    save_steps: Steps = 500
    """Save every so many optimizer steps; below 1: this share of all steps."""
    save_total_limit: Count | None = None
    """Keep at most this many checkpoints; the oldest go first. Not set: keep all."""
    save_only_model: Flag = False
    """Leave optimizer and progress out of checkpoints: smaller, but a run cannot resume."""
    plot_loss: Flag = False
    """Draw `training_loss.png` and, with evaluation data, `training_eval_loss.png`."""
    run_name: Text | None = None
    """Name of the run for trackers. Not set: the name of `output_dir`."""
    report_to: Annotated[
        Names,
        BeforeValidator(_trackers),
        Says(f"none, or one or several of {', '.join(TRACKERS)}"),
    ] = ()
    """Experiment trackers that get the log; each is an extra to install."""
    price_per_hour: Positive | None = None
    """What an hour of the device costs, in any currency: the plan then says what the run does."""


class Train(Section):
    """The optimizer, its schedule, and the arithmetic."""

    do_train: Flag = False
    """Written by run files of the field; `tunesmith train` trains either way."""
    per_device_train_batch_size: Count = 8
    """Examples per device and micro-step; with accumulation and devices it gives the
    examples of one optimizer step. How they are laid out in memory is the plan's choice."""
    gradient_accumulation_steps: Count = 1
    """Micro-steps per optimizer step."""
    global_batch_size: Count | None = None
    """Examples of one optimizer step over all devices; stands for the two keys above."""
    learning_rate: Positive = 5e-5
    """Highest learning rate of the schedule."""
    num_train_epochs: Positive = 3.0
    """Passes over the training data; parts of a pass are allowed."""
    max_steps: Limit = None
    """Stop after this many optimizer steps, whatever `num_train_epochs` says."""
    lr_scheduler_type: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
        "greedy",
    ] = "linear"
    """Course of the learning rate over the steps, by its name in transformers."""
    lr_scheduler_kwargs: Table | None = None
    """Further settings of the schedule, such as `{num_cycles: 2}`."""
    warmup_ratio: Annotated[Number, Ge(0), Lt(1)] = 0.0
    """Share of all steps over which the learning rate rises from 0."""
    warmup_steps: Warmup = 0
    """Steps over which the learning rate rises from 0; below 1: this share of all steps."""
    moe_aux_loss_coef: Annotated[Number, Ge(0), Le(1000)] | None = None
    """Of a model with experts: weight of the routers' imbalance beside the loss. 0: they are left
    to themselves. Not set: as the model's config has it, if that says `output_router_logits`."""
    weight_decay: Annotated[Number, Ge(0)] = 0.0
    """Decoupled weight decay (of sgd, adagrad and rmsprop: added to the gradient); norms and
    biases are spared."""
    max_grad_norm: Annotated[Number, Ge(0)] = 1.0
    """Gradients are scaled down to at most this norm; 0: never."""
    optim: Annotated[optimizers.Name, BeforeValidator(optimizers.long_name)] = "adamw_torch_fused"
    """Optimizer. `adamw` is short for `adamw_torch_fused`, `adamw_8bit` for `adamw_bnb_8bit`;
    names with `bnb`, `8bit`, `paged`, `lion` and `ademamix` need `tunesmith[bnb]`."""
    use_muon: Flag = False
    """The same as `optim: muon`: Muon (arXiv:2502.16982) for matrices, AdamW for the rest."""
    optim_args: Annotated[
        dict[str, Any],
        BeforeValidator(optimizers.args_of),
        WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]}),
        Says("settings such as momentum=0.9,nesterov=true, or a mapping"),
    ] = Field(default={})
    """Further settings of the optimizer, such as `momentum=0.9` of sgd. What it does not take
    is refused."""
    adam_beta1: Annotated[Number, Ge(0), Lt(1)] = 0.9
    """Decay of the mean of gradients, of AdamW and its kin."""
    adam_beta2: Annotated[Number, Ge(0), Lt(1)] = 0.999
    """Decay of the mean of squared gradients, of AdamW and its kin."""
    adam_epsilon: Positive = 1e-8
    """Keeps AdamW's division away from zero."""
    bf16: Flag | None = None
    """Compute in bfloat16. Not set: yes where the hardware has it natively."""
    fp16: Flag | None = None
    """Compute in float16 with a loss scale, for GPUs without bfloat16. Not set: no."""
    prefix_sharing: Annotated[Literal["auto"] | Flag, Says("auto, true or false")] = "auto"
    """Compute what the rows of a step begin with in common (a system prompt, tool definitions)
    only once; the result is the same. `auto`: where the plan counts that it pays."""
    torch_compile: Flag | None = None
    """Compile the element-wise work of the layers (norms, gates) into kernels of its own; the
    result is the same but for rounding. Not set: where the plan counts that it pays."""
    seed: Annotated[Natural, Le(2**32 - 1)] = 42
    """Start of everything random: order of rows, new weights, dropout."""
    resume_from_checkpoint: Resume = None
    """A checkpoint to go on from, or false to start over. Not set: the newest verified
    checkpoint in `output_dir`, if any."""
    dataloader_num_workers: Natural = 0
    """Processes that lay out batches ahead. Accepted, not needed: batches come from memory."""
    ddp_timeout: Count = 1800
    """Seconds that one process waits for the others."""

    @property
    def optimizer(self) -> str:
        """Name of the optimizer: `optim`, or what `use_muon` says."""
        return "muon" if self.use_muon else self.optim


class Eval(Section):
    """Evaluation on held-out rows during training."""

    do_eval: Flag = False
    """Written by run files of the field; held-out rows are evaluated either way, at least
    once, after the last step."""
    do_predict: Flag = False
    """Written by run files of the field: `tunesmith predict` answers the rows of `eval_dataset`
    either way, and training does not."""
    per_device_eval_batch_size: Count = 8
    """Examples per device and step of evaluation. Accepted, not needed: evaluation fits its
    batches to the memory there is; the result is the same."""
    eval_strategy: Interval = "no"
    """Evaluate every `eval_steps` (`steps`), after each epoch, or only at the end (`no`)."""
    eval_steps: Steps | None = None
    """Evaluate every so many optimizer steps; below 1: this share of all steps. Not set:
    `save_steps`."""
    eval_on_each_dataset: Flag = False
    """Also measure the held-out rows of each data set apart: `eval_NAME_loss`."""
    compute_accuracy: Flag = False
    """Also measure the share of trained tokens that are the most probable one."""
    predict_with_generate: Flag = False
    """Also answer the held-out rows at each evaluation, as `tunesmith predict` does, and measure
    BLEU, ROUGE and exact match (`eval_rouge-l` ...). Needs `tunesmith[metrics]`."""
    load_best_model_at_end: Flag = False
    """Make the best checkpoint by `metric_for_best_model` the result, not the last one."""
    metric_for_best_model: (
        Annotated[
            Literal[
                "eval_loss",
                "eval_accuracy",
                "eval_bleu-4",
                "eval_rouge-1",
                "eval_rouge-2",
                "eval_rouge-l",
                "eval_bleu",
                "eval_exact_match",
            ],
            BeforeValidator(_metric),
        ]
        | None
    ) = None
    """What is best: `eval_loss`; with `compute_accuracy`, `eval_accuracy`; with
    `predict_with_generate`, a figure of the answers. `rouge-l` is short for `eval_rouge-l`, and
    so on. Not set: `eval_loss`."""
    greater_is_better: Flag | None = None
    """Whether a larger value of the metric is the better one. Not set: by the metric."""
    early_stopping_steps: Count | None = None
    """Stop after this many evaluations without a better metric. Not set: never."""
