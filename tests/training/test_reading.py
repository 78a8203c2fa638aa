"""The rows of a run without its weights: the same tokens as the run would learn."""

import numpy as np
import pytest

from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.data.purpose import UnfitError
from tunesmith.training import reading, run
from tunesmith.training.report import Silent


def test_rows_are_those_that_the_run_would_learn(tmp_path):
    asked = load(tiny_run(tmp_path), ())
    _, material = run.plan(asked, Silent())
    found = reading.read(asked, Silent())
    assert found.data.fingerprint == material.data.fingerprint
    assert np.array_equal(found.data.train[0].ids, material.data.train[0].ids)


def test_weights_need_not_be_there(tmp_path):
    asked = load(tiny_run(tmp_path), ())
    for path in (tmp_path / "model").glob("*.safetensors"):
        path.unlink()
    assert len(reading.read(asked, Silent()).data.train)


def test_a_dataset_for_another_stage_is_refused_before_a_model_and_surveyed_without_one(tmp_path):
    rows = [{"instruction": "q", "chosen": "a", "rejected": "b"}]
    words = ("max_samples=1", "model_name_or_path=nobody/has-it")
    asked = load(tiny_run(tmp_path, rows=rows * 3, entry={"ranking": True}), words)
    with pytest.raises(UnfitError):
        reading.read(asked, Silent())
    found = reading.survey(asked)
    assert [account.used for account in found.ledger.files.values()] == [1]
    assert len(found.unfit) == 1
