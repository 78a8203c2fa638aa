"""When the rows of a step share what they begin with, and that nothing but time depends on it."""

import json
import signal

import pytest
from safetensors.torch import load_file

from tiny_run import WORDS, tiny_rows, tiny_run, train
from tunesmith.compute import sharing as computing
from tunesmith.config.load import load
from tunesmith.data.batches import lay_out
from tunesmith.errors import ConfigError, ModelError
from tunesmith.training.journal import read, without_times
from tunesmith.training.material import gather
from tunesmith.training.planning import make
from tunesmith.training.report import Silent
from tunesmith.training.run import plan as plan_of
from tunesmith.training.signals import Stopper
from tunesmith.training.units import Units

SYSTEM = " ".join(WORDS)
ENTRY = {
    "columns": {
        "prompt": "instruction", "query": "input", "response": "output", "system": "system"
    }
}  # fmt: skip


def rows(count=12):
    """Rows under one long system prompt."""
    return [row | {"system": SYSTEM} for row in tiny_rows(count)]


def planned(tmp_path, **keys):
    run = load(tiny_run(tmp_path, entry=ENTRY, **keys))
    return plan_of(run, Silent())


def test_the_plan_counts_what_the_runs_own_steps_compute(tmp_path):
    plan, material = planned(tmp_path, rows=rows(), num_train_epochs=1)
    assert plan.share
    examples, units = (
        material.data.train,
        Units(material.data.train.lengths, load(tmp_path / "run.yaml"), "examples"),
    )
    batches = [
        batch
        for number in range(1, plan.steps + 1)
        for batch in lay_out(
            examples, units.examples(number), max_tokens=plan.micro_batch_tokens, share=True
        )
    ]
    computed = sum(len(batch.ids_T) for batch in batches)
    assert plan.computed_tokens_per_epoch == computed < plan.tokens_per_epoch
    assert sum(batch.num_tokens for batch in batches) == plan.tokens_per_epoch
    line = f"{plan.tokens_per_epoch / computed:.2f}x fewer tokens: {computed:,} of "
    assert f"prefix sharing    {line}{plan.tokens_per_epoch:,} computed per epoch" in plan.text()


def test_a_plan_of_many_steps_counts_some_of_them_and_says_so(tmp_path):
    plan, _ = planned(
        tmp_path, rows=rows(300), per_device_train_batch_size=2, gradient_accumulation_steps=1
    )
    assert "x fewer tokens: about " in plan.prefix_sharing
    short, _ = planned(tmp_path, rows=rows(300), max_steps=2)
    assert "x fewer tokens: about " in short.prefix_sharing
    assert 0.4 < plan.computed_tokens_per_epoch / plan.tokens_per_epoch < 0.8


def test_time_is_estimated_from_what_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("tunesmith.training.planning.speed_of", lambda device, dtype: 1e9)
    shared, _ = planned(tmp_path, rows=rows())
    alone, _ = planned(tmp_path, rows=rows(), prefix_sharing=False)
    assert shared.seconds < 0.9 * alone.seconds


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"prefix_sharing": False}, "off: prefix_sharing: false"),
        ({"lora_dropout": 0.1}, "off: with lora_dropout, each row drops something else"),
        ({"flash_attn": "sdpa"}, "off: flash_attn: sdpa has no kernel for rows that branch"),
        (
            {"rows": [row | {"system": ""} for row in tiny_rows()]},
            "off: the rows of a step do not begin alike",
        ),
    ],
)
def test_the_plan_says_why_it_is_off(tmp_path, keys, why):
    plan, _ = planned(tmp_path, **{"rows": rows()} | keys)
    assert not plan.share
    assert plan.prefix_sharing.startswith(why)
    assert plan.computed_tokens_per_epoch == plan.tokens_per_epoch
    assert f"  prefix sharing    {why}" in plan.text()


def test_models_with_state_do_not_share(tmp_path):
    run = load(tiny_run(tmp_path, entry=ENTRY, rows=rows()))
    material = gather(run, Silent())
    stateful = material._replace(facts=material.facts._replace(carries_state=True))
    plan = make(run, stateful)
    assert plan.prefix_sharing == "off: some layers carry state from token to token"
    forced = load(tmp_path / "run.yaml", {"prefix_sharing": True})
    with pytest.raises(ConfigError, match="prefix_sharing"):
        make(forced, stateful)


def test_on_a_gpu_it_is_only_done_when_asked_for(tmp_path):
    run = load(tiny_run(tmp_path, entry=ENTRY, rows=rows()))
    material = gather(run, Silent())
    import torch

    from tunesmith.training import sharing

    there = material._replace(precision=material.precision._replace(device=torch.device("cuda")))
    units = Units(material.data.train.lengths, run, "examples")
    keys = {"steps": 6, "max_tokens": 4096, "body": 10**8}
    assert "not measured on a GPU" in sharing.decide(run, there, units, **keys).why
    forced = load(tmp_path / "run.yaml", {"prefix_sharing": True})
    assert sharing.decide(forced, there, units, **keys).on


def test_a_branching_must_pay_for_its_calls(tmp_path):
    """In a model of next to no parameters a token costs less than a call of a kernel."""
    from tunesmith.training import sharing

    run = load(tiny_run(tmp_path, entry=ENTRY, rows=rows()))
    material = gather(run, Silent())
    units = Units(material.data.train.lengths, run, "examples")
    found = [
        sharing.decide(run, material, units, steps=6, max_tokens=4096, body=body).on
        for body in (1000, 10**8)
    ]
    assert found == [False, True]


def test_dropout_and_sharing_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="lora_dropout") as caught:
        load(tiny_run(tmp_path, lora_dropout=0.1, prefix_sharing=True))
    assert caught.value.where.endswith("prefix_sharing")


class StopAfter(Stopper, Silent):
    """A signal that comes while a given step is reported."""

    def __init__(self, step):
        Stopper.__init__(self)
        self._step = step

    def step(self, done, total, **facts):
        if done == self._step:
            self.receive(signal.SIGTERM, None)


def log(directory):
    return [without_times(record) for record in read(directory / "trainer_log.jsonl")]


@pytest.mark.parametrize(
    "keys", [{}, {"packing": True}, {"finetuning_type": "full", "lora_rank": None}]
)
def test_a_run_learns_the_same_with_and_without(tmp_path, keys):
    path = tiny_run(
        tmp_path, entry=ENTRY, rows=rows(), val_size=3, eval_strategy="steps", eval_steps=2, **keys
    )
    shared = train(path, output_dir=str(tmp_path / "shared"))
    alone = train(path, output_dir=str(tmp_path / "alone"), prefix_sharing=False)
    assert shared.plan.share
    assert not alone.plan.share
    assert shared.plan.identity == alone.plan.identity
    for one, other in zip(log(tmp_path / "shared"), log(tmp_path / "alone"), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value == pytest.approx(other[key], rel=1e-4), key
    here, there = (
        json.loads((tmp_path / n / "train_results.json").read_text()) for n in ("shared", "alone")
    )
    assert here["train_tokens"] == there["train_tokens"] == there["train_computed_tokens"]
    assert here["train_computed_tokens"] < 0.8 * here["train_tokens"]
    assert here["real_flops"] < 0.9 * there["real_flops"]


def test_micro_batches_of_a_tree_do_not_change_what_is_learned(tmp_path, monkeypatch):
    path = tiny_run(tmp_path, entry=ENTRY, rows=rows())
    train(path, output_dir=str(tmp_path / "one"))
    monkeypatch.setattr("tunesmith.training.memory.MICRO_BATCH_TOKENS", {"cpu": 150})
    train(path, output_dir=str(tmp_path / "other"))
    for one, other in zip(log(tmp_path / "one"), log(tmp_path / "other"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_a_run_that_is_gone_on_with_keeps_the_layout_of_its_first_start(tmp_path):
    path = tiny_run(tmp_path, entry=ENTRY, rows=rows(), save_steps=100)
    train(path, output_dir=str(tmp_path / "straight"))

    stop = StopAfter(2)
    assert train(path, stop, stop).status == "stopped"
    result = train(path, prefix_sharing=False)
    assert result.plan.share
    assert "as at the first start of this run" in result.plan.prefix_sharing
    assert log(tmp_path / "out") == log(tmp_path / "straight")
    one, other = (
        load_file(tmp_path / n / "adapter_model.safetensors") for n in ("out", "straight")
    )
    assert all(one[key].equal(other[key]) for key in other)


def test_a_model_that_cannot_share_trains_without_it_or_is_refused_where_it_was_asked_for(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(computing, "_probe", lambda model: False)
    path = tiny_run(tmp_path, entry=ENTRY, rows=rows())
    result = train(path)
    assert any("prefix sharing is off" in note for note in result.notes)
    results = json.loads((tmp_path / "out" / "train_results.json").read_text())
    assert results["train_computed_tokens"] == results["train_tokens"]
    with pytest.raises(ModelError):
        train(path, output_dir=str(tmp_path / "forced"), prefix_sharing=True)
    assert not (tmp_path / "forced").exists()
