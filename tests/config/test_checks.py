"""Contradictions are errors; keys with nothing to act on are notes."""

import re
from pathlib import Path

import pytest

import tunesmith
from tunesmith.config.checks import UNREAD
from tunesmith.config.load import load
from tunesmith.config.run import fields
from tunesmith.errors import ConfigError

HELD_OUT = {"dataset": "a", "val_size": 0.1, "eval_strategy": "steps"}
MIX = {"dataset": "a,b", "mix_strategy": "interleave_over"}


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"bf16": True, "fp16": True}, "fp16"),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, "warmup_ratio"),
        ({"val_size": 0.1, "eval_dataset": "b"}, "val_size"),
        ({"dataset": "a,b", "interleave_probs": "0.5,0.5"}, "interleave_probs"),
        ({**MIX, "interleave_probs": "0.5,0.3,0.2"}, "interleave_probs"),
        ({**MIX, "interleave_probs": "0.5"}, "interleave_probs"),
        ({**MIX, "interleave_probs": "0,1"}, "interleave_probs"),
        ({**MIX, "mix_strategy": "interleave_once", "interleave_probs": "1,0"}, "interleave_probs"),
        ({"train_on_prompt": True, "mask_history": True}, "mask_history"),
        ({"neat_packing": True, "packing": False}, "neat_packing"),
        ({"finetuning_type": "full", "adapter_name_or_path": "a"}, "adapter_name_or_path"),
        ({"adapter_name_or_path": "a,b,a"}, "adapter_name_or_path"),
        ({"use_muon": True, "optim": "sgd"}, "use_muon"),
        ({"optim": "sgd", "optim_args": "beta3=0.9"}, "optim_args"),
        ({"optim_args": "momentum=0.9"}, "optim_args"),
        ({"use_dora": True, "pissa_init": True}, "pissa_init"),
        ({"quantization_bit": 4, "pissa_init": True}, "quantization_bit"),
        ({"quantization_bit": 4, "finetuning_type": "full"}, "quantization_bit"),
        ({"quantization_bit": 8, "finetuning_type": "freeze"}, "quantization_bit"),
        (
            {"quantization_bit": 4, "adapter_name_or_path": "a,b", "dataset": "c"},
            "quantization_bit",
        ),
        (
            {
                "quantization_bit": 4,
                "adapter_name_or_path": "a",
                "create_new_adapter": True,
                "dataset": "c",
            },
            "quantization_bit",
        ),
        ({"quantization_method": "hqq"}, "quantization_method"),
        ({"output_dir": "/"}, "output_dir"),
        ({"export_dir": "/tmp/.."}, "export_dir"),
        ({"global_batch_size": 10, "gradient_accumulation_steps": 4}, "global_batch_size"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end"),
        ({"early_stopping_steps": 3}, "early_stopping_steps"),
        ({**HELD_OUT, "eval_strategy": "no", "early_stopping_steps": 3}, "early_stopping_steps"),
        ({**HELD_OUT, "load_best_model_at_end": True, "save_strategy": "epoch"}, None),
        ({**HELD_OUT, "load_best_model_at_end": True, "eval_steps": 300}, "save_steps"),
        ({**HELD_OUT, "load_best_model_at_end": True, "eval_steps": 0.1, "save_steps": 0.25}, None),
        ({**HELD_OUT, "metric_for_best_model": "accuracy"}, "metric_for_best_model"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type"),
        ({"lr_scheduler_type": "greedy"}, "lr_scheduler_type"),
    ],
)
def test_contradictions_are_refused(asked, key):
    with pytest.raises(ConfigError) as caught:
        load(None, asked)
    assert caught.value.need
    if key:
        assert caught.value.where.endswith(f": {key}") or caught.value.where == key


@pytest.mark.parametrize("shares", ["0.5,0.3,0.2", "0.5"])
def test_a_wrong_number_of_shares_is_answered_with_one_that_will_do(shares):
    with pytest.raises(ConfigError) as caught:
        load(None, {**MIX, "interleave_probs": shares})
    line, _, said = caught.value.hint.partition(", which ")
    assert said == "are equal shares"
    assert load(None, {**MIX, "interleave_probs": line.partition(": ")[2]})
    with pytest.raises(ConfigError) as caught:
        load(None, {**MIX, "dataset": "a", "interleave_probs": "0.5,0.5"})
    assert caught.value.hint == "remove `interleave_probs`"


@pytest.mark.parametrize(
    "asked",
    [
        {"bf16": True, "fp16": False},
        {"warmup_ratio": 0.1, "warmup_steps": 0},
        {"val_size": 0.0, "eval_dataset": "b"},
        {**MIX, "interleave_probs": "0.5,3"},
        {**MIX, "interleave_probs": "0.5,0.5", "eval_dataset": "c,d,e"},
        {"dataset": "a,b", "mix_strategy": "interleave_under", "interleave_probs": "0,1"},
        {"dataset": "a", "mix_strategy": "concat", "streaming": False},
        {"global_batch_size": 16, "gradient_accumulation_steps": 4},
        {"use_muon": True, "optim": "adamw_torch", "adam_beta1": 0.8},
        {"quantization_bit": 4, "quantization_type": "fp4", "double_quantization": True},
        {"quantization_bit": 8, "quantization_method": "bnb", "adapter_name_or_path": "a"},
        {"optim": "lion_8bit", "adam_beta1": 0.8, "optim_args": {"min_8bit_size": 1}},
        {**HELD_OUT, "load_best_model_at_end": True},
        {**HELD_OUT, "load_best_model_at_end": True, "eval_steps": 100},
        {**HELD_OUT, "load_best_model_at_end": True, "eval_steps": 0.1, "save_steps": 0.2},
        {**HELD_OUT, "metric_for_best_model": "accuracy", "compute_accuracy": True},
        {**HELD_OUT, "early_stopping_steps": 3, "lr_scheduler_type": "greedy"},
    ],
)
def test_what_agrees_passes_without_a_note(asked):
    assert load(None, asked).notes == ()


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"eval_steps": 100}, "eval_steps"),
        ({"per_device_eval_batch_size": 1}, "per_device_eval_batch_size"),
        ({"preprocessing_num_workers": 16}, "preprocessing_num_workers"),
        ({"compute_accuracy": True}, "compute_accuracy"),
        ({"eval_strategy": "steps"}, "eval_strategy"),
        ({"do_eval": True}, "do_eval"),
        ({"dataset": "a", "val_size": 0.1, "eval_steps": 100}, "eval_steps"),
        ({"save_strategy": "epoch", "save_steps": 100}, "save_steps"),
        ({"val_size": 0.1}, "val_size"),
        ({"streaming": True}, "streaming"),
        ({"buffer_size": 128}, "buffer_size"),
        ({"dataset": "a", "mix_strategy": "interleave_over"}, "mix_strategy"),
        ({"eval_on_each_dataset": True}, "eval_on_each_dataset"),
        ({"optim": "sgd", "adam_beta1": 0.8}, "adam_beta1"),
        ({"quantization_type": "fp4"}, "quantization_type"),
        ({"quantization_bit": 8, "double_quantization": True}, "double_quantization"),
        ({"optim": "lion", "adam_epsilon": 1e-6}, "adam_epsilon"),
        ({"create_new_adapter": True}, "create_new_adapter"),
        ({"pissa_iter": 4}, "pissa_iter"),
        ({"pissa_convert": True}, "pissa_convert"),
        ({"pissa_init": True, "pissa_convert": True}, "pissa_convert"),
        ({"ddp_timeout": 180000000}, "ddp_timeout"),
        ({"max_steps": 5, "num_train_epochs": 2}, "num_train_epochs"),
        ({"do_sample": False, "temperature": 0.5}, "temperature"),
    ],
)
def test_idle_keys_are_noted_with_the_reason(asked, key):
    notes = load(None, asked).notes
    assert any(f"argument: {key} has nothing to act on: " in note for note in notes), notes


def test_false_and_null_are_no_notes():
    idle = {"compute_accuracy": False, "do_eval": False, "eval_steps": None}
    run = load(None, {**idle, "overwrite_cache": False, "flash_attn": "auto"})
    assert run.notes == ()


def test_no_key_is_ignored_without_a_note():
    """Every key is read as an attribute somewhere, or stands in `UNREAD` with its reason."""
    root = Path(tunesmith.__file__).parent
    resolved = {root / "config" / f"{name}.py" for name in ("run", "method", "train", "model")}
    files = resolved | {p for p in root.rglob("*.py") if root / "config" not in p.parents}
    text = "\n".join(path.read_text(encoding="utf8") for path in sorted(files))
    read = {
        key for key in fields() if re.search(rf'\.{key}\b|getattr\([^)]*"{key}"', text) is not None
    }
    said_by_verbs = {"do_train", "do_eval"}
    assert set(fields()) - read - said_by_verbs == set(UNREAD)


@pytest.mark.parametrize("key", ["add_tokens", "add_special_tokens", "new_special_tokens_config"])
def test_new_tokens_need_rows(key):
    with pytest.raises(ConfigError) as caught:
        load(None, {key: "zebra"})
    assert key in caught.value.where
    assert caught.value.hint == "set `resize_vocab: true`"
    assert load(None, {key: "zebra", "resize_vocab": True}).notes == ()


def test_a_file_of_new_tokens_stands_in_place_of_the_list():
    keys = {"add_special_tokens": "a", "new_special_tokens_config": "b", "resize_vocab": True}
    (note,) = load(None, keys).notes
    assert "add_special_tokens has nothing to act on" in note
