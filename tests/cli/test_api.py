"""`import tunesmith; tunesmith.train(...)` is the command as a function."""

import pytest

import tunesmith
from tiny_run import tiny_rows, tiny_run
from tunesmith.data import sampled
from tunesmith.errors import ConfigError


def test_a_file_and_keywords_train(tmp_path):
    path = tiny_run(tmp_path)
    assert tunesmith.plan(path, max_steps=2).steps == 2
    assert not (tmp_path / "out").exists()
    result = tunesmith.train(path, max_steps=2, learning_rate=2e-4)
    assert result.status == "trained"
    assert result.plan.identity["learning_rate"] == 2e-4
    assert result.output_dir == tmp_path / "out"
    assert result.metrics["train_loss"] > 0
    assert callable(tunesmith.train), "importing the rooms must not hide the function"


def test_keywords_alone_are_enough(tmp_path):
    tiny_run(tmp_path)
    result = tunesmith.train(
        model_name_or_path=str(tmp_path / "model"), dataset="tiny",
        dataset_dir=str(tmp_path / "data"), template="chatml", output_dir=str(tmp_path / "o"),
        max_steps=1,
    )  # fmt: skip
    assert result.status == "trained"


def test_a_plan_is_of_all_rows_unless_a_sample_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sampled, "BY_DEFAULT", sampled.Sampling(above=250, rows=210))
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = tiny_run(tmp_path, rows=tiny_rows(300))
    assert tunesmith.plan(path, exact=False).estimate["rows_in_sample"] == 210
    assert tunesmith.plan(path).estimate is None


def test_mistakes_are_errors_with_four_facts(tmp_path):
    with pytest.raises(ConfigError) as caught:
        tunesmith.plan(tiny_run(tmp_path), lora_rnak=1)
    assert caught.value.hint == "lora_rank"


def test_only_what_is_offered_is_listed():
    assert dir(tunesmith) == sorted(tunesmith.__all__) == ["__version__", "plan", "train"]
