"""Commands over models and settings that cannot be computed: one error, exit code 2, no output."""

import os
import sys

import pytest

from tiny_run import tiny_run
from tunesmith.cli.main import main

FALCON = {"new_decoder_architecture": True, "num_kv_heads": 2}
MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
NOTHING_HERE = """need  a linear layer of the model: q_proj, k_proj, v_proj, o_proj, gate_proj, \
up_proj, down_proj, lm_head
  try   lora_target: q_proj,v_proj"""
OF_CONV = "those of this model are of type Conv1D"

BOTH = {  # kind of model, keys of its config, keys of the run; what the error says, where
    "a target that matches nothing": (
        "llama", {}, {"lora_target": "q_proj,v_prjo"}, NOTHING_HERE, "run.yaml:17: lora_target"),
    "a target that is no linear layer": (
        "llama", {}, {"lora_target": "norm"}, "additional_target: norm", "run.yaml:17: "),
    "a target that holds linear layers": (
        "llama", {}, {"lora_target": "mlp"}, "lora_target: gate_proj,up_proj,down_proj",
        "run.yaml:17: "),
    "layers of a kind of their own": ("gpt2", {}, {}, OF_CONV, "lora_target"),
    "experts": ("mixtral", MOE, {}, "lora_target: q_proj,k_proj,v_proj,o_proj", "lora_target"),
    "a kernel that is not here": (
        "llama", {}, {"flash_attn": "fa3"}, "flash_attn: auto", "run.yaml:17: flash_attn"),
    "a kernel that the model ignores": (
        "falcon", FALCON, {"flash_attn": "sdpa"}, "falcon computes its own", "run.yaml:17: flash"),
    "fp16 on a processor": (
        "llama", {}, {"fp16": True, "bf16": None}, "a CUDA device", "run.yaml:16: fp16"),
    "dropout of the model": (
        "phi", {"resid_pdrop": 0.1}, {}, "set every dropout in that file to 0", "config.json"),
    "a rank with too few singular values": (
        "llama", {}, {"lora_rank": 65, "pissa_init": True}, "at most 64", "run.yaml:5: lora_rank"),
}  # fmt: skip

WITH_WEIGHTS = {  # seen on the weights only, so that a plan does not tell
    "a head that is not reproduced": (
        "llama", {"final_logit_softcapping": 5.0}, {},
        "that this model does not read: final_logit_softcapping", "head of LlamaForCausalLM"),
}  # fmt: skip


def told_of(tmp_path, capsys, verb, case):
    kind, own, keys, said, where = case
    path = tiny_run(tmp_path, kind=kind, model=own, **keys)
    before = sorted(os.listdir(tmp_path))
    capsys.readouterr()
    assert main([verb, str(path)]) == 2
    shown = capsys.readouterr()
    error = shown.err.partition("error: ")[2]
    assert where in error.splitlines()[0]
    assert said in error
    assert error.count("  need  ") == 1
    assert "Traceback" not in shown.err + shown.out
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", BOTH)
def test_a_plan_ends_with_one_error_and_writes_nothing(tmp_path, capsys, name):
    told_of(tmp_path, capsys, "plan", BOTH[name])


@pytest.mark.parametrize("name", [*list(BOTH)[::4], *WITH_WEIGHTS])
def test_training_ends_with_one_error_before_it_begins(tmp_path, capsys, name):
    told_of(tmp_path, capsys, "train", (BOTH | WITH_WEIGHTS)[name])


@pytest.mark.parametrize("keys", [{"quantization_bit": 4}, {"optim": "adamw_bnb_8bit"}])
@pytest.mark.parametrize("verb", ["plan", "train"])
def test_what_needs_an_extra_that_is_missing_names_it(tmp_path, capsys, monkeypatch, keys, verb):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    case = ("llama", {}, keys, "pip install", f"run.yaml:17: {next(iter(keys))}")
    told_of(tmp_path, capsys, verb, case)
