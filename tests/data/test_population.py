"""The rows that a run takes of a dataset are known before they are read."""

from pathlib import Path

import numpy as np
import pytest

from data_files import write
from tunesmith.data import registry
from tunesmith.data.population import Population, population, shares
from tunesmith.data.sample import sample
from tunesmith.errors import DataError


def entry(*paths, num_samples=None):
    made = registry.Entry(
        "d", paths, "alpaca", registry.Columns(), registry.Tags(), "", explicit_columns=False
    )
    return made._replace(num_samples=num_samples)


@pytest.fixture
def files(tmp_path):
    rows = [{"instruction": str(i), "output": "a"} for i in range(30)]
    return write(tmp_path / "1.jsonl", rows[:10]), write(tmp_path / "2.json", rows[10:])


@pytest.mark.parametrize(
    ("num_samples", "max_samples", "expected"),
    [
        (None, None, range(30)),
        (None, 12, range(12)),
        (None, 99, range(30)),
        (7, None, sample(30, 7, 42)),
        (7, 5, sample(30, 5, 42)),
        (99, None, range(30)),
        (99, 20, sample(30, 20, 42)),
    ],
)
def test_it_is_what_the_run_asks_for(files, num_samples, max_samples, expected):
    found = population(entry(*files, num_samples=num_samples), max_samples=max_samples, seed=42)
    assert found.counts == (10, 20)
    assert found.there == 30
    assert found.numbers.tolist() == list(expected)


def test_rows_are_named_by_file_from_one():
    found = Population((), (10, 0, 20), np.array([0, 9, 10, 29]))
    assert found.of_files() == [[1, 10], [], [1, 20]]


def test_a_few_are_drawn_from_all_over_and_the_same_for_a_seed():
    whole = Population((), (1000,), np.arange(0, 1000, 2))
    few = whole.drawn(50, seed=1)
    assert len(set(few.numbers.tolist())) == 50
    assert (np.diff(few.numbers) > 0).all()
    assert set(few.numbers.tolist()) <= set(whole.numbers.tolist())
    assert few.numbers.max() > 800
    assert few.numbers.tolist() == whole.drawn(50, seed=1).numbers.tolist()
    assert few.numbers.tolist() != whole.drawn(50, seed=2).numbers.tolist()
    assert whole.drawn(500, seed=1).numbers.tolist() == whole.numbers.tolist()


def test_small_datasets_give_more_than_their_share():
    assert shares([90_000, 10_000], 10_000) == [9_000, 1_000]
    assert shares([999_000, 1_000, 50], 10_000) == [9_990, 200, 50]


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        population(entry(Path(tmp_path / "none.jsonl")), max_samples=None, seed=1)
