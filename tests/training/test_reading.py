"""The rows of a run without its weights: the same tokens as the run would learn."""

import numpy as np

from tiny_run import tiny_run
from tunesmith.config.load import load
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
