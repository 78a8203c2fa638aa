"""A run in FP8 begins with a comparison, and does not begin where it would learn something else."""

import pytest
import torch

from tiny_run import tiny_run, train
from tunesmith.compute import float8
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.training import run as training
from tunesmith.training.report import Silent

FP8 = {"quantization_bit": 8, "quantization_method": "fp8", "bf16": True}
SIZES = {"hidden_size": 64, "intermediate_size": 128}


class Said(Silent):
    """What is told, line by line."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def path(tmp_path):
    return tiny_run(tmp_path, model=SIZES, max_steps=2, val_size=3, **FP8)


def test_the_comparison_is_told_and_the_run_ends_near_the_one_in_bf16(path, tmp_path):
    report = Said()
    result = train(path, report=report)
    (told,) = [line for line in report.lines if "products in fp8" in line]
    assert "tried on 4 rows" in told
    dense = train(path, quantization_bit=None, output_dir=tmp_path / "dense")
    assert result.metrics["eval_loss"] == pytest.approx(dense.metrics["eval_loss"], rel=0.02)
    assert result.metrics["eval_loss"] != dense.metrics["eval_loss"]


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_model_that_would_learn_something_else_is_refused_and_nothing_is_left(
    path, tmp_path, monkeypatch, broken
):
    product = float8.product

    def wrong(rows, codes, scales):
        forward = not torch._C._current_graph_task_id() >= 0
        factor = 3.0 if forward == (broken == "loss") else 1.0
        return (product(rows, codes, scales) * factor).roll(int(factor != 1), 1)

    monkeypatch.setattr(float8, "product", wrong)
    with pytest.raises(ModelError, match="would learn something else"):
        train(path)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_four_bits_and_other_precisions_are_refused(path):
    with pytest.raises(ConfigError, match="quantization_method"):
        load(path, {"quantization_bit": 4})
    with pytest.raises(ConfigError, match="bf16"):
        training.plan(load(path, {"bf16": False}), Silent())


def test_a_processor_is_told_that_it_is_slower(path):
    plan, _ = training.plan(load(path), Silent())
    assert "8-bit fp8" in plan.text()
    assert any("fp8 is for GPUs" in note for note in plan.notes)
