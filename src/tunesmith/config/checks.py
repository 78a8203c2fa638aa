"""Keys that contradict each other, and keys that have nothing to act on."""

from __future__ import annotations

import math
import os

from tunesmith.config.dataset import names_of
from tunesmith.config.method import Lora
from tunesmith.config.optimizers import OPTIMIZERS, problem
from tunesmith.config.rule import shown
from tunesmith.config.run import Run
from tunesmith.config.train import GENERATED, WITHOUT_WARMUP
from tunesmith.errors import ConfigError

UNREAD = {
    "preprocessing_num_workers": "rows are tokenised on all cores at once",
    "dataloader_num_workers": "batches are laid out from memory, without further processes",
    "per_device_eval_batch_size": "evaluation fits its batches to the memory there is",
    "ddp_timeout": "it counts only with several processes",
    "streaming": "rows are prepared in flat memory, kept for the next run, and counted, so that "
    "max_steps need not be known",
    "buffer_size": "all rows of an epoch are shuffled, not those of a buffer",
    "pissa_convert": "an adapter of `pissa_init` is always saved for the unchanged base",
}
"""Keys that users' files carry and nothing looks at, with the reason. A test holds that these
are all; whoever begins to read one takes it out."""


_BESIDE_MUON = ("muon", "adamw_torch", "adamw_torch_fused")
"""Optimizers that `use_muon` does not contradict: AdamW takes what is no matrix."""


def check(run: Run) -> list[str]:
    """The notes of a run whose every value is good by itself.

    Raises:
        ConfigError: two keys cannot both hold.
    """
    _arithmetic(run)
    _optimizer(run)
    _quantization(run)
    _places(run)
    _tokens(run)
    _data(run)
    _evaluation(run)
    _assembly(run)
    return _idle(run)


def _contradiction(run: Run, key: str, other: str, why: str, *, hint: str = "") -> ConfigError:
    return ConfigError(
        run.where(key),
        got=f"{key}: {_said(run, key)}, and {other}: {_said(run, other)}",
        need=why,
        hint=hint,
    )


def _said(run: Run, key: str) -> str:
    value = run.asked.get(key)
    return "not set" if value is None else shown(value)


def _arithmetic(run: Run) -> None:
    train = run.train
    if train.bf16 and train.fp16:
        raise _contradiction(run, "fp16", "bf16", "one of the two", hint="remove `fp16`")
    if train.warmup_ratio and train.warmup_steps:
        raise _contradiction(run, "warmup_ratio", "warmup_steps", "one of the two")
    if train.prefix_sharing is True and isinstance(run.method, Lora) and run.method.lora_dropout:
        raise _contradiction(
            run,
            "prefix_sharing",
            "lora_dropout",
            "no dropout: of a token that rows share, each row drops something else",
            hint="remove `prefix_sharing`, or set `lora_dropout: 0`",
        )
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    product = math.prod(getattr(train, key) for key in keys)
    both = all(run.asked.get(key) is not None for key in keys)
    if train.global_batch_size and not (both and train.global_batch_size % product == 0):
        run.batch()  # with both, the number of devices may make up for the rest
    if isinstance(run.method, Lora) and run.method.use_dora and run.method.pissa_init:
        raise _contradiction(run, "pissa_init", "use_dora", "one of the two")
    if run.model.adapter_name_or_path and not isinstance(run.method, Lora):
        raise _contradiction(
            run,
            "adapter_name_or_path",
            "finetuning_type",
            "`finetuning_type: lora`, or no adapter: other methods have none",
            hint="merge the adapter first: tunesmith export",
        )


def _optimizer(run: Run) -> None:
    train = run.train
    if train.use_muon and run.asked.get("optim") and train.optim not in _BESIDE_MUON:
        raise _contradiction(
            run, "use_muon", "optim", "one optimizer", hint="remove `optim`, or `use_muon`"
        )
    if wrong := problem(train.optimizer, train.optim_args):
        raise ConfigError(run.where("optim_args"), got=wrong[0], need=wrong[1])


def _quantization(run: Run) -> None:
    if run.model.quantization is None:
        return
    if not isinstance(run.method, Lora):
        raise _contradiction(
            run,
            "quantization_bit",
            "finetuning_type",
            "adapters over the quantised weights, which cannot learn themselves",
            hint="set `finetuning_type: lora`, or remove `quantization_bit`",
        )
    if run.model.quantization_method == "fp8" and run.model.quantization_bit == 4:
        raise _contradiction(
            run, "quantization_method", "quantization_bit", "8 bits", hint="quantization_bit: 8"
        )
    if run.method.pissa_init:
        raise _contradiction(
            run,
            "quantization_bit",
            "pissa_init",
            "one of the two: PiSSA starts at the weights, not at what rounding leaves of them",
        )
    adapters = run.model.adapter_name_or_path
    merged = adapters if run.method.create_new_adapter else adapters[:-1]
    if merged and run.dataset.dataset:
        raise ConfigError(
            run.where("quantization_bit"),
            got=f"{run.model.quantization_bit}, and {len(merged)} adapter(s) to merge",
            need="one adapter at most, which is trained on: codes cannot be added to",
            hint="merge them first: tunesmith export",
        )


def _places(run: Run) -> None:
    for key, path in (("output_dir", run.output.output_dir), ("export_dir", run.export.export_dir)):
        if path is not None and not os.path.basename(os.path.abspath(path)):
            raise ConfigError(run.where(key), got=str(path), need="a directory of the run's own")
    if run.export.export_format and run.export.export_quantization_bit is not None:
        raise _contradiction(
            run, "export_quantization_bit", "export_format", "one of the two",
            hint=f"export_format: bnb-{run.export.export_quantization_bit}bit",
        )  # fmt: skip
    adapters = run.model.adapter_name_or_path
    twice = [name for name in dict.fromkeys(adapters) if adapters.count(name) > 1]
    if twice:
        raise ConfigError(
            run.where("adapter_name_or_path"), got=f"{twice[0]} twice", need="each adapter once"
        )


def _tokens(run: Run) -> None:
    for key in ("add_tokens", "add_special_tokens", "new_special_tokens_config"):
        if getattr(run.model, key) and not run.model.resize_vocab:
            raise _contradiction(
                run,
                key,
                "resize_vocab",
                "`resize_vocab: true`: a new token is learned only if it has rows of its own",
                hint="set `resize_vocab: true`",
            )


def _data(run: Run) -> None:
    data = run.dataset
    if data.eval_dataset and data.val_size:
        raise _contradiction(
            run,
            "val_size",
            "eval_dataset",
            "one source of evaluation data",
            hint="remove `val_size`",
        )
    _mix(run)
    if data.train_on_prompt and data.mask_history:
        raise _contradiction(run, "mask_history", "train_on_prompt", "one of the two")
    if data.neat_packing and data.packing is False:
        raise _contradiction(run, "neat_packing", "packing", "`packing: true`, or neither")


def _mix(run: Run) -> None:
    data, shares = run.dataset, run.dataset.interleave_probs
    if not shares:
        return
    if data.mix_strategy == "concat":
        raise _contradiction(
            run,
            "interleave_probs",
            "mix_strategy",
            "a mix_strategy that draws: interleave_under, interleave_over or interleave_once",
            hint="set `mix_strategy: interleave_under`, or remove `interleave_probs`",
        )
    if data.dataset and len(shares) != len(data.dataset):
        raise ConfigError(
            run.where("interleave_probs"),
            got=f"{len(shares)} where `dataset` names {len(data.dataset)}: "
            f"{', '.join(names_of(data.dataset))}",
            need="one share for each data set, in that order",
            hint=f"interleave_probs: {', '.join('1' * len(data.dataset))}, which are equal shares"
            if len(data.dataset) > 1
            else "remove `interleave_probs`",
        )
    if 0 in shares and data.mix_strategy != "interleave_under":
        name = names_of(data.dataset)[shares.index(0)] if data.dataset else "one of them"
        raise ConfigError(
            run.where("interleave_probs"),
            got=f"0 for {name}, all of whose rows {data.mix_strategy} waits for",
            need="a share above 0 for every data set",
            hint=f"leave {name} out of `dataset`, or set `mix_strategy: interleave_under`",
        )


def _evaluation(run: Run) -> None:
    wants = run.eval
    for key in ("load_best_model_at_end", "early_stopping_steps"):
        if not getattr(wants, key):
            continue
        if not run.holds_out:
            raise ConfigError(
                run.where(key),
                need="evaluation data, which this run has not",
                hint="set `val_size: 0.1` or `eval_dataset`",
            )
        if wants.eval_strategy == "no":
            raise _contradiction(
                run,
                key,
                "eval_strategy",
                "evaluations to compare",
                hint="set `eval_strategy: steps`",
            )
    if run.train.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy") and (
        not run.holds_out or wants.eval_strategy == "no"
    ):
        raise ConfigError(
            run.where("lr_scheduler_type"),
            got=run.train.lr_scheduler_type,
            need="evaluations during training, which it follows",
            hint="set `val_size` and `eval_strategy: steps`",
        )
    if wants.metric_for_best_model == "eval_accuracy" and not wants.compute_accuracy:
        raise _contradiction(
            run, "metric_for_best_model", "compute_accuracy", "`compute_accuracy: true`"
        )
    if wants.metric_for_best_model in GENERATED and not wants.predict_with_generate:
        raise _contradiction(
            run,
            "metric_for_best_model",
            "predict_with_generate",
            "`predict_with_generate: true`",
        )
    if wants.predict_with_generate and run.dataset.train_on_prompt and run.holds_out:
        raise _contradiction(
            run,
            "predict_with_generate",
            "train_on_prompt",
            "rows of which only the answers are learned: else nothing tells where they begin",
        )
    if wants.load_best_model_at_end:
        _best_is_saved(run)


def _best_is_saved(run: Run) -> None:
    """What is saved on its own cadence has been evaluated, as transformers demands.

    A new best between two saves is saved when it appears.
    """
    strategy, every = run.output.save_strategy, run.output.save_steps
    if strategy != run.eval.eval_strategy:
        raise _contradiction(
            run,
            "load_best_model_at_end",
            "save_strategy",
            f"the same strategy for both; evaluation has `{run.eval.eval_strategy}`",
            hint=f"set `save_strategy: {run.eval.eval_strategy}`",
        )
    whole = every >= 1 and run.eval_every >= 1
    ratio = every / run.eval_every
    if strategy == "steps" and (
        (whole and every % run.eval_every) or (not whole and abs(ratio - round(ratio)) > 1e-9)
    ):
        raise _contradiction(
            run,
            "save_steps",
            "eval_steps",
            "a multiple of eval_steps, so that what is saved has been evaluated",
            hint=f"set `save_steps: {run.eval_every}`",
        )


def _assembly(run: Run) -> None:
    parts, key = run.assemble, "mm_vision_select_layer"
    default = type(parts).model_fields[key].default
    if parts.mm_projector_type == "resampler" and parts.mm_vision_select_layer not in (default, -1):
        why = "a resampler looks at the last layer of the tower, after its norm"
        raise _contradiction(run, key, "mm_projector_type", why, hint=f"remove `{key}`")


def _idle(run: Run) -> list[str]:
    """Keys given with a value that nothing will look at."""
    reasons = dict(UNREAD)
    if not run.holds_out:
        why = "there is no evaluation data (val_size, eval_dataset)"
        keys = ("eval_steps", "compute_accuracy", "eval_on_each_dataset", "predict_with_generate")
        reasons |= dict.fromkeys((*keys, "metric_for_best_model", "greater_is_better"), why)
        if run.eval.eval_strategy != "no":
            reasons["eval_strategy"] = why
        if run.eval.do_eval:
            reasons["do_eval"] = why
    elif run.eval.eval_strategy != "steps":
        reasons["eval_steps"] = f"`eval_strategy` is `{run.eval.eval_strategy}`"
    if run.output.save_strategy != "steps":
        reasons["save_steps"] = f"`save_strategy` is `{run.output.save_strategy}`"
    reasons |= _idle_of_data(run)
    if isinstance(run.method, Lora) and not run.method.pissa_init:
        reasons |= dict.fromkeys(("pissa_iter", "pissa_convert"), "`pissa_init` is not set")
    if run.method.finetuning_type == "lora" and not run.model.adapter_name_or_path:
        reasons["create_new_adapter"] = "there is no `adapter_name_or_path`"
    if run.model.new_special_tokens_config:
        reasons["add_special_tokens"] = "`new_special_tokens_config` decides"
    if run.train.max_steps is not None:
        reasons["num_train_epochs"] = "`max_steps` decides"
    reasons |= _idle_of_optimizer(run) | _idle_of_quantization(run) | _idle_of_projector(run)
    if run.generate.do_sample is False:
        why = "`do_sample` is false"
        reasons |= dict.fromkeys(("temperature", "top_p", "top_k"), why)
    return [
        f"{run.places[key]} has nothing to act on: {why}"
        for key, why in reasons.items()
        if run.asked.get(key) not in (None, False, [], "")
    ]


def _idle_of_optimizer(run: Run) -> dict[str, str]:
    """The same for keys of the optimizer and its schedule."""
    name = run.train.optimizer
    unused = {"adam_beta1", "adam_beta2", "adam_epsilon"} - set(OPTIMIZERS[name].uses)
    reasons = dict.fromkeys(sorted(unused), f"`{name}` has no such setting")
    if run.train.lr_scheduler_type in WITHOUT_WARMUP:
        why = f"`{run.train.lr_scheduler_type}` has no warm-up; `constant_with_warmup` has"
        reasons |= dict.fromkeys(("warmup_ratio", "warmup_steps"), why)
    return reasons


def _idle_of_quantization(run: Run) -> dict[str, str]:
    """The same for how the base is held."""
    if run.model.quantization_bit is None:
        keys = ("quantization_method", "quantization_type", "double_quantization")
        return dict.fromkeys(keys, "there is no `quantization_bit`")
    if run.model.quantization_bit == 8:
        return dict.fromkeys(("quantization_type", "double_quantization"), "8 bits have no types")
    return {}


def _idle_of_projector(run: Run) -> dict[str, str]:
    """The same for what is assembled."""
    parts = run.assemble
    if parts.mm_projector_type != "resampler":
        return {"num_queries": "`mm_projector_type` is no resampler"}
    if parts.mm_vision_select_layer != -1:
        return {"mm_vision_select_layer": "a resampler looks at the last layer"}
    return {}


def _idle_of_data(run: Run) -> dict[str, str]:
    """The same for keys that need data sets, or several."""
    data = run.dataset
    reasons = {}
    if not data.dataset and data.val_size:
        reasons["val_size"] = "there is no `dataset`"
    if len(data.dataset) < 2 and data.mix_strategy != "concat":
        why = "it takes several data sets to mix"
        reasons |= dict.fromkeys(("mix_strategy", "interleave_probs"), why)
    return reasons
