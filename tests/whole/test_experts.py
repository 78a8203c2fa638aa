"""Experts out of a dense model, trained: exactly what is named learns, and the log says how."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from tiny_model import tiny_model
from tiny_run import tiny_run, train
from tunesmith.cli.main import main
from tunesmith.models import upcycle
from tunesmith.training import journal
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper

KEYS = {
    "finetuning_type": "full", "train_modules": ["experts", "gate"], "moe_aux_loss_coef": 0.1,
    "plot_loss": True, "learning_rate": 3e-3, "lora_rank": None, "val_size": 2,
}  # fmt: skip


@pytest.fixture(scope="module", params=["all", "odd"])
def mixed(request, tmp_path_factory):
    """A directory with a model of experts, made of a dense one."""
    folder = tmp_path_factory.mktemp("mixed")
    source, out = tiny_model(folder, "llama", num_hidden_layers=3), folder / "model"
    out.mkdir()
    upcycle.upcycle(
        source, out, layers=request.param, experts=4, per_token=2, coefficient=0.01, seed=0
    )
    return folder


def tensors(directory):
    found = {}
    for path in directory.glob("*.safetensors"):
        found |= load_file(path)
    return found


def trained(folder, name, **keys):
    """Output directory of a run."""
    path = tiny_run(folder, output_dir=str(folder / name), **(KEYS | keys))
    train(path)
    return folder / name


def test_exactly_what_is_named_learns_and_the_log_says_how(mixed):
    out = trained(mixed, "out")
    before, after = tensors(mixed / "model"), tensors(out)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    inside = (".experts.", ".gate.weight")
    assert changed == {name for name in before if any(part in name for part in inside)}
    records = [r for r in journal.read(out / "trainer_log.jsonl") if "router_load" in r]
    assert len(records) == 6
    layers = len(records[0]["router_load"])
    for record in records:
        assert record["router_dropped"] == 0
        assert record["aux_loss"] >= 1
        assert 0 < record["router_entropy"] <= 1
        for shares in record["router_load"]:
            assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert layers == (3 if (mixed / "model" / "config.json").read_text().count("Mixtral") else 1)
    assert (out / "training_routers.png").is_file()


class StopAfter(Stopper, Silent):
    """A signal that comes while a given step is reported."""

    def __init__(self, step):
        Stopper.__init__(self)
        self._step = step

    def step(self, done, total, **facts):
        if done == self._step:
            self.receive(signal.SIGTERM, None)


def test_resumed_is_straight(mixed):
    """In the middle of a window of the log, too."""
    keys = {"max_steps": 6, "logging_steps": 4}
    straight = trained(mixed, "straight", **keys)
    path = tiny_run(mixed, output_dir=str(mixed / "halves"), **(KEYS | keys))
    stop = StopAfter(3)
    assert train(path, stop, stop).status == "stopped"
    assert train(path).status == "trained"
    ours, theirs = tensors(straight), tensors(mixed / "halves")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    logs = [
        [journal.without_times(r) for r in journal.read(out / "trainer_log.jsonl")]
        for out in (straight, mixed / "halves")
    ]
    assert logs[0] == logs[1]


def test_batches_of_any_layout_learn_the_same(mixed):
    """Four micro-batches of one row, or one of four: the imbalance is that of each row."""
    found = []
    for name, keys in (
        ("one", {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}),
        ("four", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}),
    ):
        out = trained(mixed, name, max_steps=3, moe_aux_loss_coef=1.0, **keys)
        found.append(tensors(out))
    start = tensors(mixed / "model")
    for name, learned in found[0].items():
        moved = (learned - start[name]).norm()
        assert (learned - found[1][name]).norm() <= 1e-3 * moved + 1e-7, name


def test_a_coefficient_makes_the_load_more_even(mixed):
    """Strongly balanced, routers end nearer to an even load than left to themselves."""
    ends = []
    for name, weight in (("free", 0), ("even", 10.0)):
        out = trained(
            mixed, name, moe_aux_loss_coef=weight, num_train_epochs=8, train_modules=["gate"],
            learning_rate=3e-2,
        )  # fmt: skip
        records = [r for r in journal.read(out / "trainer_log.jsonl") if "aux_loss" in r]
        ends.append(records[-1]["aux_loss"])
    assert ends[1] < 0.97 * ends[0]


def test_experts_of_a_dense_model_are_refused(tmp_path, capsys):
    path = tiny_run(tmp_path, **KEYS)
    assert main(["plan", str(path)]) == 2
    told = capsys.readouterr().err
    assert "train_modules" in told
    assert "tunesmith upcycle makes one of a dense model" in told
    assert "q_proj" in told


def test_only_with_all_weights_can_modules_be_chosen(tmp_path, capsys):
    path = tiny_run(tmp_path, train_modules=["experts"])
    code = main(["plan", str(path), "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 2
    assert "train_modules" in told["where"]
