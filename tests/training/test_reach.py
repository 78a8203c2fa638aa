"""Paths that are elsewhere are told; what a run allows is passed on, and no more."""

from pathlib import Path

import pytest

from tunesmith.config.load import load
from tunesmith.data.fetch import NO_ACCESS, Access
from tunesmith.errors import ConfigError
from tunesmith.training.reach import access, refuse_elsewhere


def run_in(tmp_path, monkeypatch, text):
    """A run whose file is beside its data, asked for from another directory."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.json").write_text("[]")
    (tmp_path / "run.yaml").write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return load(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("dataset: a", "run.yaml: dataset_dir"),
        ("dataset: ./data/a.json", "run.yaml:1: dataset"),
        ("dataset: [{file_name: data/a.json}]", "run.yaml:1: dataset"),
        ("seed: 1\neval_dataset: data/a.json", "run.yaml:2: eval_dataset"),
    ],
)
def test_a_path_beside_the_run_file_says_where_to_go(tmp_path, monkeypatch, text, place):
    run = run_in(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigError) as caught:
        refuse_elsewhere(run)
    assert caught.value.where == f"{tmp_path}/{place}"
    assert caught.value.hint.startswith(f"cd {tmp_path}")
    monkeypatch.chdir(tmp_path)
    refuse_elsewhere(run)


@pytest.mark.parametrize("item", ["{hf_hub_url: own/rows}", "./nowhere.json"])
def test_what_is_not_beside_the_run_file_either_is_for_others_to_tell(tmp_path, monkeypatch, item):
    refuse_elsewhere(run_in(tmp_path, monkeypatch, f"dataset: [{item}]"))


def test_without_leave_nothing_is_allowed():
    assert access(load(None)) == NO_ACCESS
    keys = {"trust_remote_code": True, "hf_hub_token": "h", "ms_hub_token": "m", "cache_dir": "c"}
    assert access(load(None, keys)) == Access(True, "h", "m", Path("c"))
