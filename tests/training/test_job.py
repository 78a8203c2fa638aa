"""A job built from a checkpoint is the job that wrote it."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from tiny_run import tiny_rows, tiny_run
from tunesmith.config.load import load
from tunesmith.errors import OutputError, StoreError
from tunesmith.training import planning
from tunesmith.training.job import Job, fingerprint
from tunesmith.training.material import gather
from tunesmith.training.optimizer_state import optimizer_tensors
from tunesmith.training.report import Silent


def job(tmp_path, **keys):
    run = load(tiny_run(tmp_path, **keys))
    material = gather(run, Silent())
    (tmp_path / "out").mkdir(exist_ok=True)
    plan = planning.make(run, material)
    return Job(run, plan, material, tmp_path / "out", report=Silent())


class Rate:
    metrics_so_far = ()


def test_weights_optimizer_and_counters_come_back_bit_by_bit(tmp_path):
    first = job(tmp_path)
    steps = first.steps(Rate())
    for _ in range(3):
        step = next(steps)
        first.watched.progress = first.watched.progress.after(step, seconds=1.0)
    first.save(first.watched)
    second = job(tmp_path)
    assert second.watched == first.watched
    for name, parameter in first.parameters.items():
        assert torch.equal(parameter, second.parameters[name])
    before = optimizer_tensors(first.optimizer, first.parameters)
    after = optimizer_tensors(second.optimizer, second.parameters)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [s.number for s in second.steps(Rate())] == [4, 5, 6]


def test_every_step_has_dropout_of_its_own_and_the_same_again(tmp_path):
    """The gradient of B, which is zero at first, is what shows it."""
    keys = {"rows": tiny_rows(4), "lora_dropout": 0.5, "learning_rate": 1e-12}
    norms = [[step.grad_norm for step in job(tmp_path, **keys).steps(Rate())] for _ in range(2)]
    assert norms[0][0] != pytest.approx(norms[0][1], rel=1e-3)
    assert norms[0] == norms[1]


def test_a_damaged_newest_checkpoint_is_stepped_over_aloud(tmp_path):
    first = job(tmp_path)
    for step in first.steps(Rate()):
        first.watched.progress = first.watched.progress.after(step, seconds=1.0)
        if step.number <= 2:
            first.save(first.watched)
    path = tmp_path / "out" / "checkpoint-2" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    said = []
    second_run = first.run
    report = Silent()
    report.say = said.append
    second = Job(second_run, first.plan, first.material, tmp_path / "out", report=report)
    assert second.watched.progress.step == 1
    assert any("checkpoint-2 is not used" in text for text in said)


def test_a_checkpoint_without_optimizer_cannot_be_resumed_by_name(tmp_path):
    first = job(tmp_path, save_only_model=True)
    next(first.steps(Rate()))
    first.watched.progress = first.watched.progress._replace(step=1)
    first.save(first.watched)
    with pytest.raises(StoreError, match="checkpoint-1"):
        job(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_a_checkpoint_of_another_plan_is_not_gone_on_from(tmp_path):
    first = job(tmp_path)
    next(first.steps(Rate()))
    first.watched.progress = first.watched.progress._replace(step=1)
    first.save(first.watched)
    with pytest.raises(OutputError, match="checkpoint-1"):
        job(tmp_path, lora_dropout=0.1)


def test_the_fingerprint_is_that_of_the_identity(tmp_path):
    plan = job(tmp_path).plan
    assert fingerprint(plan) != fingerprint(job(tmp_path, learning_rate=0.5).plan)
    assert fingerprint(plan) == fingerprint(job(tmp_path, logging_steps=3).plan)


def test_what_is_not_fused_is_told_once(tmp_path, monkeypatch):
    """By the plan what the code shows, by the job what only the weights show."""
    assert not any("fused" in note for note in job(tmp_path).notes)
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: self.down_proj(
        self.act_fn(self.up_proj(x)) * self.gate_proj(x)))  # fmt: skip
    (told,) = [note for note in job(tmp_path).notes if "fused" in note]
    assert "LlamaMLP (its result differs" in told
    (tmp_path / "other").mkdir()
    made = job(tmp_path / "other", kind="gemma2")
    assert [note for note in (*made.plan.notes, *made.notes) if "fused" in note] == [
        note for note in made.plan.notes if "Gemma2Attention" in note
    ]
