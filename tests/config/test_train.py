"""Training keys: names of the field, words for nothing, several trackers."""

import importlib.util
import re
from pathlib import Path
from typing import get_args

import pytest

from tunesmith.config.load import load
from tunesmith.config.train import TRACKERS, Train
from tunesmith.errors import ConfigError


def train(**asked):
    return load(None, asked).train


def test_every_schedule_of_transformers_has_its_name_here():
    home = importlib.util.find_spec("transformers").submodule_search_locations[0]
    source = (Path(home) / "trainer_utils.py").read_text()
    body = source.split("class SchedulerType")[1].split("\nclass ")[0]
    names = set(re.findall(r'^    [A-Z_]+ = "(\w+)"', body, re.MULTILINE))
    assert names
    assert names <= set(get_args(Train.model_fields["lr_scheduler_type"].annotation))


@pytest.mark.parametrize("word", ["no", False, "steps", "epoch"])
def test_no_is_a_word_and_not_a_flag(word, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"eval_strategy: {str(word).lower()}\nsave_strategy: {str(word).lower()}\n")
    run = load(path)
    assert run.eval.eval_strategy == run.output.save_strategy == (word or "no")


def test_minus_one_step_is_no_limit():
    assert train(max_steps=-1).max_steps is None
    assert train(max_steps=7).max_steps == 7


def test_short_names_of_optimizer_and_metric_are_understood():
    assert train(optim="adamw").optim == "adamw_torch_fused"
    assert train(optim="adamw_8bit").optim == "adamw_bnb_8bit"
    assert train(use_muon=True).optimizer == train(optim="muon").optimizer == "muon"
    best = {"metric_for_best_model": "loss", "dataset": "a", "val_size": 0.1}
    assert load(None, best).eval.metric_for_best_model == "eval_loss"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("none", ()),
        (["none"], ()),
        ("wandb", ("wandb",)),
        ("wandb, swanlab", ("wandb", "swanlab")),
        (list(TRACKERS), TRACKERS),
    ],
)
def test_trackers_are_named_one_by_one(given, names):
    assert load(None, {"report_to": given}).output.report_to == names


@pytest.mark.parametrize("given", ["all", "wandb,nobody", [3], 3, True])
def test_other_trackers_are_refused(given):
    with pytest.raises(ConfigError) as caught:
        load(None, {"report_to": given})
    assert caught.value.where == "argument: report_to"


def test_a_resume_is_automatic_a_path_or_off():
    assert train(resume_from_checkpoint=True).resume_from_checkpoint is None
    assert train(resume_from_checkpoint=False).resume_from_checkpoint is False
    assert train(resume_from_checkpoint="out/checkpoint-5").resume_from_checkpoint == Path(
        "out/checkpoint-5"
    )


def test_warm_up_may_be_steps_or_a_share():
    assert train(warmup_steps=0.1).warmup_steps == 0.1
    assert train(warmup_steps=20).warmup_steps == 20
    with pytest.raises(ConfigError):
        train(warmup_steps=1.5)
