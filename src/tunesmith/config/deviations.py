"""Where Tunesmith's defaults or behaviour differ from LLaMA-Factory's or transformers', and why."""

from __future__ import annotations

from typing import NamedTuple


class Deviation(NamedTuple):
    """One difference that a run file from elsewhere meets."""

    key: str
    theirs: str
    ours: str
    why: str


DEVIATIONS = (
    Deviation(
        "hub_private_repo",
        "not set: public, unless the account says otherwise",
        "true",
        "what was learned from somebody's own data cannot be called back once it was public",
    ),
    Deviation(
        "logging_steps",
        "500",
        "10",
        "a short run would otherwise say nothing at all",
    ),
    Deviation(
        "eval_steps",
        "not set: `logging_steps`",
        "not set: `save_steps`",
        "both are 500 there; with ours every tenth step would be evaluated",
    ),
    Deviation(
        "bf16",
        "false",
        "not set: yes where the hardware has it natively",
        "the fast arithmetic should not need a switch; `bf16: false` is fp32",
    ),
    Deviation(
        "torch_compile",
        "false",
        "not set: where the plan counts that it pays",
        "in a long run it saves time; in a short one compiling takes longer than it saves",
    ),
    Deviation("fp16", "false", "not set: no", "the same as false"),
    Deviation("do_sample", "true", "not set", "answers are drawn as the model's makers advise"),
    Deviation("temperature", "0.95", "not set", "as for `do_sample`"),
    Deviation("top_p", "0.7", "not set", "as for `do_sample`"),
    Deviation("top_k", "50", "not set", "as for `do_sample`"),
    Deviation("repetition_penalty", "1.0", "not set", "as for `do_sample`"),
    Deviation(
        "template",
        "not set: `empty`, with a warning",
        "not set: the model's own Jinja template",
        "what a model was trained with is what it should be tuned with",
    ),
    Deviation(
        "split_special_tokens",
        "false",
        "true",
        "nobody's words should end a turn or open another one",
    ),
    Deviation(
        "packing",
        "documents of a pack see each other unless `neat_packing`",
        "documents are always isolated",
        "a conversation must not be learned from another one's words",
    ),
    Deviation(
        "cutoff_len",
        "long rows are cut anywhere, headers and ends included",
        "whole turns are left out as `truncation` says, and counted",
        "a cut end-of-turn teaches a model not to stop",
    ),
    Deviation(
        "on_bad_row",
        "bad rows are dropped with a warning",
        "bad rows stop the run before the model is loaded",
        "nothing is lost without a decision",
    ),
    Deviation(
        "val_size",
        "rows are held out after the mix, which may have repeated them",
        "rows are held out before the mix",
        "a row that is learned from says nothing about others",
    ),
    Deviation(
        "interleave_probs",
        "probabilities of `dataset` and of `eval_dataset`, with sum 1",
        "shares of `dataset` alone, whatever their sum",
        "evaluation counts every row once",
    ),
    Deviation(
        "streaming",
        "rows are tokenised while training goes on; `max_steps` must be given",
        "rows are prepared first, in flat memory; steps are counted",
        "bad rows stop a run before its model is loaded, and an epoch is all rows",
    ),
    Deviation(
        "per_device_train_batch_size",
        "the last rows of an epoch can be lost (3,617 rows in steps of 8: 452 steps)",
        "the last step of an epoch may be shorter (453 steps)",
        "every row is learned in every epoch",
    ),
    Deviation(
        "overwrite_output_dir",
        "old checkpoints are ignored and overwritten",
        "an unfinished run of the same plan goes on; a run of another plan is moved aside",
        "the key stands in every tutorial's file, and hours of work should survive it",
    ),
    Deviation(
        "resume_from_checkpoint",
        "not set: the last checkpoint unless `overwrite_output_dir`",
        "not set: the newest verified checkpoint; false starts over",
        "the same command goes on where it stopped",
    ),
    Deviation(
        "save_strategy",
        "no checkpoint after the last step unless it falls on `save_steps`",
        "the result is always saved",
        "a finished run has a result",
    ),
    Deviation(
        "eval_strategy",
        "`no`: never evaluated",
        "`no`: evaluated once, after the last step, where rows are held out",
        "held-out rows are there to be looked at",
    ),
)
