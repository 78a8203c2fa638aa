"""A sample is a pure function of rows, count and seed."""

import numpy as np
import pytest

from tunesmith.data.sample import sample


def test_a_sample_is_not_the_head_and_comes_in_the_order_of_the_file():
    taken = sample(1000, 100, 42)
    assert len(set(taken.tolist())) == 100
    assert (np.diff(taken) > 0).all()
    assert taken.max() > 900
    assert taken.tolist() == sample(1000, 100, 42).tolist()
    assert taken.tolist() != sample(1000, 100, 43).tolist()


def test_every_row_is_as_likely_as_another():
    counts = np.zeros(20)
    for seed in range(400):
        counts[sample(20, 5, seed)] += 1
    assert counts.sum() == 2000
    assert counts.min() > 60
    assert counts.max() < 145


def test_a_larger_sample_holds_the_smaller_one():
    assert set(sample(50, 10, 1)) < set(sample(50, 20, 1))


@pytest.mark.parametrize(("rows", "samples"), [(5, 5), (5, 12), (1, 3), (7, 1)])
def test_more_samples_than_rows_repeat_them_evenly(rows, samples):
    taken = sample(rows, samples, 0)
    assert len(taken) == samples
    counts = np.bincount(taken, minlength=rows)
    assert counts.max() - counts.min() <= 1
    rounds = [taken[start : start + rows] for start in range(0, samples, rows)]
    assert all((np.diff(one) > 0).all() for one in rounds)


def test_the_rows_of_a_seed_stay_the_same_for_ever():
    assert sample(100, 5, 42).tolist() == PINNED


PINNED = [5, 7, 14, 71, 88]
