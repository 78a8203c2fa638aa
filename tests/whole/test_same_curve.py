"""One run of ten steps, computed in many ways: its losses and its result are the same."""

import json

import pytest
from safetensors.torch import load_file

from oracle import distance
from tiny_run import tiny_rows, tiny_run, train
from tunesmith.compute.fused import blocks
from tunesmith.training import job
from tunesmith.training.memory.solve import MICRO_BATCH_TOKENS

WAYS = {
    "one row at a time": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    "all rows at once": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "a global batch": {"global_batch_size": 8, "per_device_train_batch_size": None,
                       "gradient_accumulation_steps": None},
    "sharing": {"prefix_sharing": True},
    "no sharing": {"prefix_sharing": False},
    "plain attention": {"flash_attn": "disabled"},
    "torch's attention": {"flash_attn": "sdpa"},
    "compiled": {"torch_compile": True},
    "never recomputed": {"disable_gradient_checkpointing": True},
}  # fmt: skip
"""Keys that may not change what is learned."""


def curve(place, name, **keys):
    """Losses and the adapter of a run; rows share a beginning, lengths and masks vary."""
    path = tiny_run(
        place, rows=tiny_rows(40), num_train_epochs=2, learning_rate=1e-3,
        **{"per_device_train_batch_size": 4, **keys}, output_dir=str(place / name),
    )  # fmt: skip
    result = train(path)
    log = (place / name / "trainer_log.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, log) if "loss" in row]
    assert len(losses) == result.plan.steps == 10
    return losses, load_file(place / name / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return curve(tmp_path_factory.mktemp("straight"), "out", gradient_accumulation_steps=2)


def assert_same(got, want, *, near=1e-5, weights=1e-3):
    """Adam divides by what may be next to nothing, so weights may part further than losses."""
    assert got[0] == pytest.approx(want[0], rel=near)
    assert max(distance(got[1][name], tensor) for name, tensor in want[1].items()) < weights


@pytest.mark.parametrize("way", WAYS)
def test_no_key_of_layout_or_kernel_changes_the_curve(tmp_path, straight, way):
    keys = {"gradient_accumulation_steps": 2, **WAYS[way]}
    assert_same(curve(tmp_path, "out", **keys), straight)


@pytest.mark.parametrize("tokens", [30, 75])
def test_the_micro_batch_does_not_change_the_curve(tmp_path, straight, monkeypatch, tokens):
    monkeypatch.setitem(MICRO_BATCH_TOKENS, "cpu", tokens)
    assert_same(curve(tmp_path, "out", gradient_accumulation_steps=2), straight)


def test_recomputed_layers_and_modules_that_are_not_fused_do_not_change_the_curve(
    tmp_path, straight, monkeypatch
):
    made = job.Job._model

    def otherwise(self, path):
        model = made(self, path)
        blocks.plain(model)
        assert job.chance.enable_checkpointing(model, 2) == 2
        return model

    monkeypatch.setattr(job.Job, "_model", otherwise)
    assert_same(curve(tmp_path, "out", gradient_accumulation_steps=2), straight)


def test_bf16_follows_the_curve_of_fp32(tmp_path, straight):
    got = curve(tmp_path, "out", gradient_accumulation_steps=2, bf16=True)
    assert got[0] == pytest.approx(straight[0], rel=0.01)
    assert got[0] != straight[0]


def test_another_order_of_rows_is_another_curve(tmp_path, straight):
    """So that equal curves above say something."""
    got = curve(tmp_path, "out", gradient_accumulation_steps=2, seed=7)
    assert got[0] != pytest.approx(straight[0], rel=1e-3)
