"""A run of 40 steps, gone on with from each of its steps."""

import shutil
import signal

import pytest

from tiny_run import tiny_rows, tiny_run, train
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper

STEPS = 40
EDGES = (1, 7, 8, 9, 26, 39)
"""First and last, around the end of an epoch, somewhere in the middle of one."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run file; beside it `straight`, with every checkpoint, and `begun`, with none."""
    place = tmp_path_factory.mktemp("run")
    path = tiny_run(
        place, rows=tiny_rows(15), per_device_train_batch_size=2, gradient_accumulation_steps=1,
        num_train_epochs=5, save_steps=1, lora_dropout=0.3, lr_scheduler_type="cosine",
        warmup_ratio=0.1, max_grad_norm=0.5, loraplus_lr_ratio=4.0,
    )  # fmt: skip
    result = train(path, output_dir=str(place / "straight"))
    assert result.plan.steps == STEPS
    stop = StopAtOnce()
    assert train(path, stop, stop, output_dir=str(place / "begun")).status == "stopped"
    shutil.rmtree(place / "begun" / "checkpoint-1")
    return path


class StopAtOnce(Stopper, Silent):
    """A signal that comes while the first step is reported."""

    def step(self, done, total, **facts):
        self.receive(signal.SIGTERM, None)


def assert_same_from(straight, step, out):
    """The run that finds the checkpoint of one step goes on to the same bytes."""
    before = straight.parent / "straight"
    shutil.copytree(straight.parent / "begun", out)
    shutil.copytree(before / f"checkpoint-{step}", out / f"checkpoint-{step}")
    log = (before / "trainer_log.jsonl").read_bytes().splitlines(keepends=True)
    (out / "trainer_log.jsonl").write_bytes(b"".join(log[:step]))
    assert train(straight, output_dir=str(out), save_steps=STEPS).status == "trained"
    for file in sorted((before / f"checkpoint-{STEPS}").glob("*.safetensors")):
        again = out / f"checkpoint-{STEPS}" / file.name
        assert again.read_bytes() == file.read_bytes(), (step, file.name)
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (before / name).read_bytes()
    shutil.rmtree(out)


@pytest.mark.parametrize("step", EDGES)
def test_the_end_is_the_same_bit_for_bit_from_the_first_and_last_step_and_around_an_epoch(
    straight, tmp_path, step
):
    assert_same_from(straight, step, tmp_path / "out")


@pytest.mark.slow
def test_the_end_is_the_same_bit_for_bit_from_every_one_of_its_steps(straight, tmp_path):
    for step in range(1, STEPS):
        assert_same_from(straight, step, tmp_path / "out")
