"""A plan from a sample is near the plan from all rows, and marks what it only estimates."""

import json
import random
import re
from typing import Any

import pytest

from tiny_run import WORDS, tiny_run
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.data import sampled
from tunesmith.data.sampled import Sampled, Sampling
from tunesmith.training import estimated
from tunesmith.training import run as training
from tunesmith.training.report import Silent

SAMPLE = Sampling(above=2000, rows=800)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def rows(count):
    rng = random.Random(3)
    return [
        {"instruction": f"Say {i}.", "output": " ".join(rng.choices(WORDS, k=rng.randrange(2, 40)))}
        for i in range(count)
    ]


def planned(path, sampling):
    return training.plan(load(path, ()), Silent(), device="h100", sampling=sampling)[0]


@pytest.mark.parametrize("packing", [False, True])
def test_a_plan_from_a_sample_is_near_the_plan_from_all_rows(tmp_path, packing):
    path = tiny_run(tmp_path, rows=rows(2050), val_size=0.1, cutoff_len=512, packing=packing)
    found, exact = planned(path, SAMPLE), planned(path, None)
    assert exact.estimate is None
    said = found.estimate
    assert said is not None
    assert (said["rows_in_sample"], said["rows"]) == (800, 2050)
    within: Any = said["tokens_within"]
    assert 0 < within < 0.05
    for name in ("tokens_per_epoch", "trained_tokens_per_epoch", "seconds"):
        assert abs(getattr(found, name) / getattr(exact, name) - 1) < 2 * within
    assert (found.train_examples, found.eval_examples) == (1845, 205)
    if packing:
        assert found.as_dict() == planned(path, SAMPLE._replace(asked=True)).as_dict()
        assert set(said["scaled"]) <= set(found.as_dict())
        assert {"steps", "steps_per_epoch", "packs"} <= set(said["scaled"])
        assert abs(found.steps / exact.steps - 1) < 2 * within
    else:
        assert not {"steps", "train_examples"} & set(said["scaled"])
        assert (found.steps, found.save_every) == (exact.steps, exact.save_every)
    assert found.prefix_sharing[:3] == exact.prefix_sharing[:3]
    assert found.longest <= exact.longest


def test_each_scaled_figure_of_the_text_is_marked_and_no_other(tmp_path):
    path = tiny_run(tmp_path, rows=rows(2050), val_size=0.1, cutoff_len=512)
    found, exact = (planned(path, how).text() for how in (SAMPLE, None))
    assert "from a sample of 800 of 2,050 rows (seed 42, counted by elements of the array)" in found
    assert estimated.MARK not in exact
    rows_found, rows_exact = ({line[:20].strip(): line for line in text.split("\n")}
                              for text in (found, exact))  # fmt: skip
    for name in ("tokens", "time", "operations", "memory", "layout"):
        assert estimated.MARK in rows_found[name]
    parts = found.split("  memory")[1].split("\n")[1]
    assert parts.count("GiB") == parts.count(f" {estimated.MARK}") >= 1
    for name in ("examples", "steps", "epochs", "disk", "trainable", "saving"):
        assert rows_found[name] == rows_exact[name]


def test_what_is_skipped_makes_examples_and_steps_an_estimate(tmp_path):
    some = [{**row, "output": row["output"] * (i % 9 > 0)} for i, row in enumerate(rows(2050))]
    path = tiny_run(tmp_path, rows=some, on_bad_row="skip")
    found = planned(path, SAMPLE)
    assert found.estimate is not None
    assert {"train_examples", "steps"} <= set(found.estimate["scaled"])
    assert re.search(r"examples +~1,8\d\d to train on", found.text())
    assert re.search(r"steps +~\d+ \(~\d+ per epoch", found.text())


def test_rows_that_stand_for_others_do_not_seem_to_begin_alike(tmp_path):
    """In steps of 512 of 100 rows, each would come five times and be computed once."""
    path = tiny_run(
        tmp_path, rows=rows(2050), per_device_train_batch_size=512, gradient_accumulation_steps=1,
        prefix_sharing=True,
    )  # fmt: skip
    found, exact = planned(path, Sampling(above=2000, rows=100)), planned(path, None)
    share = [one.computed_tokens_per_epoch / one.tokens_per_epoch for one in (found, exact)]
    assert abs(share[0] - share[1]) < 0.1


def test_the_command_takes_a_sample_where_asked_and_all_rows_where_asked(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sampled, "BY_DEFAULT", Sampling(above=390, rows=250))
    path = str(tiny_run(tmp_path, rows=rows(400)))
    for flags, of in (([], 250), (["--exact"], None), ([], None), (["--sample", "300"], 300),
                      (["--sample", "1_000"], None)):  # fmt: skip
        assert main(["plan", path, "--json", *flags]) == 0
        estimate = json.loads(capsys.readouterr().out)["estimate"]
        assert (estimate and estimate["rows_in_sample"]) == of
    for bad in ("0", "-3", "many"):
        assert main(["plan", path, f"--sample={bad}"]) != 0
        assert "no number of rows" in capsys.readouterr().err


def test_training_never_samples(tmp_path, monkeypatch):
    def never(*args: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(sampled, "draw", never)
    path = tiny_run(tmp_path, max_steps=1)
    assert main(["train", str(path)]) == 0
    with pytest.raises(AssertionError):
        planned(tiny_run(tmp_path, rows=rows(20)), SAMPLE)


def test_what_a_sample_cannot_know_is_noted():
    made = Sampled(10, 100, "lines", 1, one_each=True, tokens_within=0.1)
    assert len(estimated.notes(made, longest=9, cutoff_len=20)) == 2
    assert len(estimated.notes(made, longest=20, cutoff_len=20)) == 1
    assert estimated.notes(None, longest=9, cutoff_len=20) == []
