"""The largest micro-batch comes first, changes nothing, and is left out where it tells nothing."""

import json

import pytest

from tiny_run import tiny_rows, tiny_run, train
from tunesmith.config.load import load
from tunesmith.data.batches import lay_out
from tunesmith.training.job import Job
from tunesmith.training.material import gather
from tunesmith.training.memory import worst
from tunesmith.training.report import Silent
from tunesmith.training.units import Units

ROWS = [{**row, "output": row["output"] * (1 + i // 4)} for i, row in enumerate(tiny_rows(14))]
LOG, WEIGHTS = "trainer_log.jsonl", "adapter_model.safetensors"


@pytest.fixture
def tried(monkeypatch):
    """(arguments, batch) of every time that a largest batch was asked for."""
    found, original = [], worst.to_try

    def spied(*arguments):
        found.append((arguments, original(*arguments)))
        return found[-1][1]

    monkeypatch.setattr(worst, "to_try", spied)
    return found


def test_it_is_the_largest_of_all_steps(tmp_path, tried, monkeypatch):
    monkeypatch.setattr(worst, "_AMPLE", 0.0)
    result = train(tiny_run(tmp_path, rows=ROWS))
    (((plan, units, examples), batch),) = tried
    sums = [units.lengths[units.examples(n)].sum() for n in range(1, result.plan.steps + 1)]
    assert len(batch.ids_T) == max(sums) > sums[0]
    one = type("Plan", (), {**vars(plan), "steps": 1})()
    assert worst.to_try(one, units, examples) is None  # the first step is the largest then


def test_a_processor_is_not_troubled_where_memory_is_ample(tmp_path, tried):
    train(tiny_run(tmp_path, rows=ROWS))
    assert [batch for _, batch in tried] == [None]


def test_results_are_the_same_with_and_without(tmp_path, tried, monkeypatch):
    monkeypatch.setattr(worst, "_AMPLE", 0.0)
    path = tiny_run(tmp_path, rows=ROWS, lora_dropout=0.1)
    train(path)
    assert tried[0][1] is not None
    monkeypatch.setattr(Job, "try_largest", lambda self: None)
    train(path, output_dir=str(tmp_path / "other"))
    one, other = tmp_path / "out", tmp_path / "other"
    assert (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    losses = [
        [json.loads(line)["loss"] for line in (place / LOG).read_text().splitlines()]
        for place in (one, other)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("max_tokens", [90, 4096])
def test_the_plan_counts_the_fullest_micro_batch_that_there_is(tmp_path, max_tokens, share):
    prompt = {"instruction": "Say one and two and three and four, in this order, please."}
    rows = [{**row, **prompt} for row in ROWS]
    material = gather(load(tiny_run(tmp_path, rows=rows)), Silent())
    examples, run = material.data.train, load(tmp_path / "run.yaml")
    units = Units(examples.lengths, run, "examples")
    tokens, use = worst.used(units, examples, steps=7, max_tokens=max_tokens, share=share)
    steps = [
        lay_out(examples, units.examples(n), max_tokens=max_tokens, share=share)
        for n in range(1, 8)
    ]
    assert tokens == max(len(batch.ids_T) for step in steps for batch in step)
    assert use.several is any(len(step) > 1 for step in steps) is (max_tokens == 90)
    assert use.sizes >= len({len(batch.ids_T) for step in steps for batch in step}) or share
