"""From a run to its needs: every component, by the config alone."""

import subprocess
import sys

import pytest
import torch

from seeing_run import STAGE_1, seeing_run
from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.models.freeze import full
from tunesmith.training.material import gather
from tunesmith.training.memory import estimate
from tunesmith.training.memory.estimate import needs, optimizer_by_formula
from tunesmith.training.optim import optimizer_for
from tunesmith.training.report import Silent


def found(tmp_path, **keys):
    run = load(tiny_run(tmp_path, **keys))
    material = gather(run, Silent())
    return needs(run, material), material


def test_weights_adapters_gradients_and_moments_are_counted_once(tmp_path):
    made, material = found(tmp_path)
    frozen = material.parameters - material.trainable
    fixed = made.fixed
    assert fixed.weights == frozen * 4  # the head is the embedding: tied weights count once
    assert fixed.trained == fixed.gradients == material.trainable * 4
    assert 2 * fixed.trained <= fixed.optimizer < 2.1 * fixed.trained
    assert made.layers == 2


def test_full_training_has_no_frozen_weights(tmp_path):
    made, material = found(tmp_path, finetuning_type="full", lora_rank=None)
    assert made.fixed.weights == 0
    assert made.fixed.trained == material.parameters * 4


@pytest.mark.parametrize(
    ("name", "words", "settings"),
    [
        ("sgd", 0, None),
        ("sgd", 1, "momentum=0.9"),
        ("adamw_torch", 2, None),
        ("adamw_torch", 3, "amsgrad=true"),
        ("rmsprop", 1, None),
        ("rmsprop", 3, "momentum=0.9,centered=true"),
        ("adagrad", 1, None),
        ("adafactor", 1, "beta1=0.9"),
    ],
)
def test_each_optimizer_keeps_what_its_page_says(tmp_path, name, words, settings):
    made, material = found(tmp_path, optim=name, optim_args=settings)
    if name == "adafactor":  # rows and columns are a few more
        assert made.fixed.optimizer <= 1.6 * material.trainable * 4
        return
    assert words * material.trainable * 4 <= made.fixed.optimizer
    assert made.fixed.optimizer <= (words + 0.1) * material.trainable * 4


def test_in_bf16_frozen_weights_take_half_and_trained_ones_stay_fp32(tmp_path):
    one, _ = found(tmp_path)
    half, _ = found(tmp_path, bf16=True)
    assert half.fixed.weights * 2 == one.fixed.weights
    assert half.fixed.trained == one.fixed.trained


@pytest.mark.parametrize(
    ("keys", "brought"),
    [({"quantization_bit": 4, "bf16": True}, True), ({}, False),
     ({"quantization_bit": 8, "quantization_method": "fp8", "bf16": True}, False)],
)  # fmt: skip
def test_a_library_that_steps_need_counts_as_the_process_s_own(
    tmp_path, monkeypatch, keys, brought
):
    pytest.importorskip("bitsandbytes")
    calls, asked = [], estimate.machine.process_bytes
    monkeypatch.setattr(estimate, "library", lambda *a, **k: calls.append("library"))
    monkeypatch.setattr(
        estimate.machine, "process_bytes", lambda kind: calls.append("process") or asked(kind)
    )
    found(tmp_path, **keys)
    assert calls == (["library", "process"] if brought else ["process"])


def test_a_model_that_asks_for_numbers_is_estimated_by_a_formula(tmp_path, monkeypatch):
    def asks(setting, tokens):
        raise RuntimeError("numbers, please")

    monkeypatch.setattr(estimate, "rehearse", asks)
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    made, _ = found(tmp_path)
    assert "numbers, please" in made.note
    assert made.need(64, 2).total < made.need(64, 0).total < made.need(128, 0).total


def test_the_formula_is_near_the_rehearsal_of_a_model_that_nothing_is_fused_in(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tunesmith.training.memory.rehearse.blocks.fuse", lambda model: None)
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    made, material = found(tmp_path)
    formula = estimate._by_formula(material, 0.5).at(1000)
    rehearsed = made.profile.at(1000)
    ratio = sum(c.kept for c in formula.plain) / sum(c.kept for c in rehearsed.plain)
    assert 0.6 < ratio < 1.5


def test_the_skeleton_is_left_as_it_was(tmp_path):
    made, material = found(tmp_path)
    assert made.note == ""
    assert all(p.device.type == "meta" for p in material.skeleton.parameters())
    assert len(full(material.skeleton)) == len(list(material.skeleton.named_parameters()))


@pytest.mark.parametrize("keys", [{}, {"finetuning_type": "full", "lora_rank": None}])
def test_a_run_on_a_gpu_that_is_not_here_is_rehearsed_not_guessed(tmp_path, keys):
    run = load(tiny_run(tmp_path, bf16=True, **keys))
    there = needs(run, gather(run, Silent(), device="4090"))
    here = needs(run, gather(run, Silent()))
    assert there.note == ""
    assert there.device == "cuda"
    assert there.profile == here.profile


def test_the_library_that_quantises_is_a_part_of_the_process(tmp_path):
    pytest.importorskip("bitsandbytes")
    program = f"""
import sys
from tunesmith.config.load import load
from tunesmith.training.material import gather
from tunesmith.training.memory.estimate import needs, optimizer_by_formula
from tunesmith.training.optim import optimizer_for
from tunesmith.training.report import Silent
from pathlib import Path
run = load(Path({str(tiny_run(tmp_path, quantization_bit=4))!r}))
material = gather(run, Silent())
assert "bitsandbytes" not in sys.modules
needs(run, material)
assert "bitsandbytes" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("least", [4096, 10_000])
@pytest.mark.parametrize("kind", ["adamw_8bit", "lion_8bit", "ademamix_8bit", "rmsprop_bnb_8bit"])
def test_what_an_optimizer_of_8_bits_keeps_is_what_it_is_said_to_keep(kind, least):
    parameters = {
        name: torch.nn.Parameter(torch.randn(shape))
        for name, shape in (("embed.weight", (500, 64)), ("a", (128, 64)), ("norm", (64,)))
    }
    optimizer = optimizer_for(
        kind, parameters, learning_rate=1e-3, by_token=["embed.weight"],
        args={"min_8bit_size": least},
    )  # fmt: skip
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    kept = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.numel() > 1 and "qmap" not in name
    )
    shapes = [(name, tuple(p.shape)) for name, p in parameters.items()]
    said = optimizer_by_formula(kind, shapes, by_token={"embed.weight"}, least=least)
    assert said == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize(
    ("keys", "held"),
    [
        (STAGE_1, True),
        ({**STAGE_1, "freeze_multi_modal_projector": True, "freeze_vision_tower": False}, True),
        ({"finetuning_type": "lora", "lora_target": "linear_1,linear_2",
          "freeze_multi_modal_projector": False}, True),
        ({"finetuning_type": "lora", "lora_target": "lm_head"}, False),
    ],
)  # fmt: skip
def test_frozen_layers_are_held_where_what_sees_learns(tmp_path, keys, held):
    run = load(seeing_run(tmp_path, **keys))
    made = needs(run, gather(run, Silent()))
    assert made.note == ""
    assert {cost.backward > 0 for cost in made.profile.at(64).plain} == {held}
