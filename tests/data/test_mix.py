"""A mix has the rows of `interleave_datasets`, draw for draw, and counts what it repeats."""

import json
import math
import re
from itertools import pairwise

import datasets as hub
import numpy as np
import pytest

from stored import stored
from tunesmith.data.mix import Mixing, interleave, mixed, told
from tunesmith.data.order import permutation, rank_rows, step_rows, steps_per_epoch
from tunesmith.errors import ConfigError, DataError
from tunesmith.types import Example, Origin

UPSTREAM = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}
EACH = pytest.mark.parametrize("strategy", UPSTREAM)


def example(dataset, row, part=0):
    ids = np.array([ord(dataset), row, part, 7], np.int32)
    return Example(ids, np.array([False, False, True, True]), Origin(dataset, "f", row, row))


def store(texts_of_a_row=1, **sizes):
    """`sizes` rows of each dataset; the even rows have `texts_of_a_row` examples."""
    return stored(
        [
            example(name, row, part)
            for name, size in sizes.items()
            for row in range(size)
            for part in range(1 if row % 2 else texts_of_a_row)
        ]
    )


def mix(examples, strategy="concat", probabilities=(), *, seed=42, wanted=None, train=None):
    names = list(dict.fromkeys(e.origin.dataset for e in examples))
    how = Mixing(strategy, probabilities, seed)
    train = examples if train is None else train
    return mixed(train, examples, names, how, wanted=wanted or {})


def rows_of(examples):
    return [(e.origin.dataset, e.origin.row) for e in examples]


def upstream(sizes, strategy, probabilities, seed):
    ends = np.cumsum(sizes)
    parts = [
        hub.Dataset.from_dict({"x": list(range(end - size, end))})
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
    return hub.interleave_datasets(
        parts, probabilities=probabilities, seed=seed, stopping_strategy=UPSTREAM[strategy]
    )["x"][:]


@EACH
@pytest.mark.parametrize("sizes", [[3, 4, 5], [1, 9], [5, 5], [2, 7, 2, 30], [2500, 40, 1100]])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_rows_are_those_of_interleave_datasets_in_the_same_order(strategy, sizes, drawn):
    for seed in (0, 42, 2**32 - 1):
        shares = np.random.default_rng(seed).random(len(sizes)) + 0.05
        shares = tuple((shares / shares.sum()).tolist()) if drawn else ()
        ours = interleave(sizes, Mixing(strategy, shares, seed))
        assert ours.tolist() == list(upstream(sizes, strategy, shares or None, seed))


@pytest.mark.parametrize(
    ("strategy", "indices"),
    [
        ("interleave_under", [0, 3, 7, 1, 4, 8, 2, 5, 9]),
        ("interleave_over", [0, 3, 7, 1, 4, 8, 2, 5, 9, 0, 6, 10, 1, 3, 11]),
        ("interleave_once", [0, 3, 7, 1, 4, 8, 2, 5, 9, 6, 10, 11]),
    ],
)
def test_without_probabilities_the_datasets_take_turns(strategy, indices):
    assert interleave([3, 4, 5], Mixing(strategy)).tolist() == indices


@pytest.mark.parametrize("seed", range(5))
def test_drawn_turns_have_their_shares_within_binomial_bounds(seed):
    shares = (0.5, 0.3, 0.2)
    places = interleave([60_000, 40_000, 50_000], Mixing("interleave_under", shares, seed))
    counts = np.histogram(places, [0, 60_000, 100_000, 150_000])[0]
    for count, share in zip(counts, shares, strict=True):
        error = math.sqrt(len(places) * share * (1 - share))
        assert abs(count - len(places) * share) < 5 * error


@EACH
def test_the_sum_of_the_shares_does_not_matter(strategy):
    one, other = (interleave([90, 40], Mixing(strategy, s)) for s in ((0.75, 0.25), (3.0, 1.0)))
    assert one.tolist() == other.tolist()


@EACH
@pytest.mark.parametrize("shares", [(), (0.6, 0.3, 0.1)])
@pytest.mark.parametrize("seed", range(3))
def test_each_strategy_ends_where_it_says(strategy, shares, seed):
    sizes = [17, 30, 8]
    places = interleave(sizes, Mixing(strategy, shares, seed)).tolist()
    borders = np.cumsum([0, *sizes]).tolist()
    lasts = [border - 1 for border in borders[1:]]
    if strategy == "interleave_once":
        assert sorted(places) == list(range(55))
    elif strategy == "interleave_over":
        assert set(places) == set(range(55))
        if shares:  # the very last row is the last one that was missing
            assert places.count(places[-1]) == 1
            assert places[-1] in lasts
    else:
        assert len(set(places)) == len(places)
        ended = [last for last in lasts if last in places]
        assert len(ended) == 1
        assert not shares or places[-1] == ended[0]
    for first, end in pairwise(borders):
        mine = [place - first for place in places if first <= place < end]
        assert mine == [number % (end - first) for number in range(len(mine))]


def test_the_same_seed_draws_the_same_rows_for_ever():
    how = Mixing("interleave_under", (0.5, 0.5), 42)
    assert interleave([4, 4], how).tolist() == PINNED
    assert interleave([4, 4], how._replace(seed=1)).tolist() != PINNED


PINNED = [4, 0, 5, 6, 1, 7]


def test_what_is_repeated_and_left_out_is_counted():
    examples = store(a=3, b=5)
    _, (a, b) = mix(examples, "interleave_under")
    assert (a.rows, a.taken, a.repeats, a.left_out) == (3, 3, 0, 0)
    assert (b.rows, b.taken, b.repeats, b.left_out) == (5, 3, 0, 2)
    _, (a, b) = mix(examples, "interleave_over")
    assert (a.rows, a.taken, a.repeats, a.left_out) == (3, 5, 2, 0)
    assert json.loads(json.dumps(b.as_dict())) == {
        "dataset": "b", "rows": 5, "taken": 5, "used": 5, "repeats": 0, "left_out": 0,
    }  # fmt: skip


@EACH
@pytest.mark.parametrize("shares", [(), (0.8, 0.1, 0.1)])
def test_the_counts_are_those_of_the_rows_that_come(strategy, shares):
    examples = store(a=30, b=5, c=12)
    train, parts = mix(examples, strategy, shares)
    found = rows_of(train)
    for part in parts:
        mine = [row for name, row in found if name == part.dataset]
        assert (part.taken, part.used) == (len(mine), len(set(mine)))
    assert sum(part.rows for part in parts) == 47


def test_a_table_tells_of_it_and_nothing_where_every_row_comes_once():
    examples = store(a=3, b=5)
    _, parts = mix(examples, "interleave_over")
    head, a, b = told(parts, Mixing("interleave_over"))
    columns = ["mix_strategy interleave_over", "rows", "per epoch", "share", "repeats", "left out"]
    assert re.split(r"  +", head) == columns
    assert a.split() == ["a", "3", "5", "50.0", "%", "2", "0"]
    assert len(head) == len(a) == len(b)
    _, parts = mix(examples)
    assert list(told(parts, Mixing())) == []


def test_rows_are_stored_once_and_pointed_to():
    examples = store(a=1, b=4)
    train, _ = mix(examples, "interleave_over")
    assert [e.ids.ctypes.data for e in train][::2] == [train[0].ids.ctypes.data] * 4
    assert rows_of(train.distinct()) == rows_of(examples)


@EACH
def test_all_examples_of_a_row_stay_together(strategy):
    train, parts = mix(store(texts_of_a_row=3, a=4, b=2), strategy)
    texts = [(*e.origin[::3], int(e.ids[2])) for e in train]
    expected = []
    for place in interleave([4, 2], Mixing(strategy)).tolist():
        name, row = ("a", place) if place < 4 else ("b", place - 4)
        expected += [(name, row, part) for part in range(1 if row % 2 else 3)]
    assert texts == expected
    assert parts[0].rows == 4


def test_one_dataset_stays_as_it_is():
    examples = store(a=5)
    train, _ = mix(examples, "interleave_over", (1.0,))
    assert train is examples


def test_num_samples_beyond_the_rows_repeat_them_evenly_in_the_order_of_the_file():
    train, (part,) = mix(store(a=5), wanted={"a": 12})
    rows = [row for _, row in rows_of(train)]
    assert rows[:10] == [0, 1, 2, 3, 4] * 2
    assert len(rows) == 12
    assert rows[10] < rows[11]
    assert (part.rows, part.taken, part.repeats) == (5, 12, 7)


def test_more_samples_than_memory_could_point_to_are_refused():
    with pytest.raises(DataError) as error:
        mix(store(a=5), wanted={"a": 10**12})
    assert error.value.where == "dataset: a"


def test_rows_come_as_often_as_if_none_were_held_out():
    whole = store(a=10, b=3)
    train = whole.choose(np.arange(13) % 5 != 0)  # rows 0 and 5 of a, 0 of b
    found, (a, b) = mix(whole, wanted={"a": 30}, train=train)
    counts = np.bincount([row for name, row in rows_of(found) if name == "a"], minlength=10)
    assert counts.tolist() == [0, 3, 3, 3, 3, 0, 3, 3, 3, 3]
    assert (a.taken, b.taken) == (24, 2)


def test_samples_beyond_the_rows_are_what_is_interleaved():
    train, (a, _) = mix(store(a=2, b=6), "interleave_under", wanted={"a": 6})
    assert [name for name, _ in rows_of(train)] == ["a", "b"] * 6
    assert (a.taken, a.repeats) == (6, 4)


@EACH
def test_a_dataset_that_is_drawn_from_must_have_a_row(strategy):
    examples = store(a=3, b=4)
    with pytest.raises(DataError) as error:
        mix(examples, strategy, train=examples.choose(np.arange(7) < 3))
    assert error.value.where == "dataset: b"
    assert "b" in error.value.hint


def test_a_dataset_with_no_share_may_be_empty_and_is_left_out():
    examples = store(a=3, b=4)
    _, parts = mix(examples, "interleave_under", (1.0, 0.0))
    assert [part.taken for part in parts] == [3, 0]
    assert parts[1].left_out == 4


@pytest.mark.parametrize(
    ("strategy", "shares", "name"),
    [
        ("interleave_over", (1e-9, 1.0), "a"),
        ("interleave_over", (1.0, 1e-12), "b"),
        ("interleave_once", (1e-9, 2e-9, 1.0), "b"),
    ],
)
def test_an_epoch_without_an_end_to_speak_of_is_refused(strategy, shares, name):
    examples = store(**dict(zip("abc", (5, 5, 5)[: len(shares)], strict=False)))
    with pytest.raises(ConfigError) as error:
        mix(examples, strategy, shares)
    assert error.value.where == "interleave_probs"
    assert f" for {name}: about" in str(error.value.got)


def test_the_last_dataset_of_once_is_not_waited_for():
    places = interleave([3, 4], Mixing("interleave_once", (1.0, 1e-12)))
    assert places.tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_over_an_epoch_all_ranks_together_take_every_reference_once(world):
    train, _ = mix(store(a=3, b=11), "interleave_over", (0.4, 0.6))
    lengths, taken = train.lengths.tolist(), []
    for step in range(1, steps_per_epoch(len(train), global_batch=4) + 1):
        rows = step_rows(step, rows=len(train), global_batch=4, seed=1).tolist()
        parts = [
            rank_rows(rows, [lengths[row] for row in rows], rank=rank, world=world)
            for rank in range(world)
        ]
        taken += [row for part in parts for row in part]
    assert sorted(taken) == list(range(len(train)))
    assert permutation(len(train), seed=1, epoch=0).tolist() != sorted(taken)
