"""Statistics are what counting example by example gives."""

import dataclasses
import json
import math
import statistics as plainly

import numpy as np
import pytest

from real_lengths import rows_like
from stored import sides, stored
from tunesmith.data import order
from tunesmith.data.batches import packs
from tunesmith.data.statistics import (
    Batching,
    Layout,
    cutoff,
    histogram,
    layouts,
    padded,
    parts,
    reached,
    spread,
    statistics,
)  # fmt: skip
from tunesmith.data.token_store import LENGTH
from tunesmith.types import Example, Origin

HOW = Batching(cutoff_len=256, batch_size=4, global_batch=16, seed=1)


def example(row, length, trained, dataset="d"):
    mask = np.arange(length) >= length - trained
    return Example(np.arange(length, dtype=np.int32), mask, Origin(dataset, "f.json", row, row))


def many(count=50):
    draw = np.random.default_rng(0)
    made = []
    for row in range(1, count + 1):
        length = int(draw.integers(3, 200))
        trained = int(draw.integers(1, length))
        made.append(example(row, length, trained, "de"[row % 3 == 0]))
    return made


def test_spreads_are_those_of_the_standard_library():
    values = rows_like("alpaca_en_demo", 999)
    found, ordered = spread(values), sorted(values.tolist())
    assert found.total == sum(ordered)
    assert found.mean == pytest.approx(plainly.fmean(ordered))
    assert found.median == plainly.median_low(ordered)
    for share, value in ((0.95, found.p95), (0.99, found.p99)):
        assert value == ordered[math.ceil(share * 999) - 1]
    assert found.most == ordered[-1]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("size", [1, 2, 20, 100, 101])
def test_a_share_is_reached_at_the_smallest_value_that_has_it_below(share, size):
    values = np.random.default_rng(size).integers(0, 30, size)
    found = reached(np.bincount(values), share)
    assert np.mean(values <= found) >= share
    assert np.mean(values < found) < share


def test_tokens_of_prompt_and_answer_are_those_of_the_whole():
    made = many()
    train, held_out = sides(made[:40], made[40:])
    found = statistics(train, held_out, HOW)
    assert (found.examples, found.held_out) == (40, 10)
    assert found.total.total == sum(len(e.ids) for e in made[:40])
    assert found.answer.total == sum(int(e.trained.sum()) for e in made[:40])
    assert found.prompt.total + found.answer.total == found.total.total
    assert found.trained == found.answer.total / found.total.total
    assert json.loads(json.dumps(found.as_dict()))["examples"] == 40


def test_every_example_stands_in_one_bar_of_each_histogram():
    total = rows_like("glaive_toolcall_en_demo", 2000)
    answer = total // 3
    found = histogram(total, total - answer, answer)
    for counts, values in ((found.total, total), (found.answer, answer)):
        assert sum(counts) == 2000
        for start, count in zip(found.starts[:-1], counts[:-1], strict=True):
            assert count == sum((values >= start) & (values < start + found.width))
    assert 5 < len(found.starts) <= 12
    assert found.open_ended
    assert found.total[-1] > 0


@pytest.mark.parametrize("longest", [1, 2, 7, 12, 13, 99, 100, 1000, 131_072])
def test_bars_begin_at_round_numbers_and_reach_the_longest(longest):
    values = np.array([1, longest])
    found = histogram(values, values, values)
    assert found.starts == tuple(range(0, found.width * len(found.starts), found.width))
    assert str(found.width).rstrip("0") in ("1", "2", "5")
    assert len(found.starts) <= 13
    assert found.open_ended is False
    assert found.starts[-1] <= longest


def test_parts_add_up_to_the_whole():
    made = many()
    found = {part.name: part for part in parts(stored(made))}
    for name in "de":
        own = [e for e in made if e.origin.dataset == name]
        assert found[name].examples == len(own)
        assert found[name].tokens == sum(len(e.ids) for e in own)
        assert found[name].trained == sum(int(e.trained.sum()) for e in own)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 4, 50, 60])
def test_padding_is_that_of_batches_in_the_order_of_the_run(rows, shuffle):
    lengths = [len(e.ids) for e in many()]
    in_order = order.permutation(50, seed=1, epoch=0).tolist() if shuffle else list(range(50))
    batches = [in_order[i : i + rows] for i in range(0, 50, rows)]
    by_hand = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded(np.array(lengths), rows, HOW._replace(shuffle=shuffle)) == by_hand


@pytest.mark.parametrize("unit", ["examples", "packs", "buckets"])
def test_each_layout_has_its_waste_and_its_steps(unit):
    lengths = np.minimum(rows_like("all", 500), 256)
    found = layouts(lengths, HOW._replace(unit=unit))
    tokens = int(lengths.sum())
    assert [one.name.partition(",")[0] for one in found] == [
        "padded", "padded", "no padding", "packing: true",
    ]  # fmt: skip
    assert [one.chosen for one in found].index(True) == (2 if unit == "examples" else 3)
    four, sixteen, none, packed = found
    assert none == Layout("no padding", tokens, 0.0, 32, unit == "examples")
    assert none.waste < four.waste < sixteen.waste
    made = packs(lengths, cutoff_len=256, seed=1, bucketed=unit == "buckets")
    assert packed.steps == -(-len(made) // 16) < none.steps
    room = [256] * len(made)
    if unit == "buckets":
        room = [len(items) * max(lengths[items]) for items in made]
    assert packed.positions == sum(room)
    for one in found:
        assert one.waste == pytest.approx(1 - tokens / one.positions)


def test_one_row_at_a_time_has_no_padding_to_tell_of():
    found = layouts(np.array([3, 4]), HOW._replace(batch_size=1, global_batch=1))
    assert [one.name for one in found] == ["no padding", "packing: true"]


def test_the_cutoff_counts_what_was_cut_and_says_what_would_keep_it():
    rows = [(10, 90, 91), (20, 5, 6), (30, 4, 3), (90, 1, 0)]
    found = cutoff(np.array(rows, LENGTH), 20)
    expected = {"texts": 100, "over": 5, "left_out": 3, "shortened": 2, "cutoff_len": 20}
    assert {key: getattr(found, key) for key in expected} == expected
    assert found.keeps_whole == {"95 %": 20, "99 %": 30, "100 %": 90}
    assert found.keeps_answers == {"95 %": 20, "99 %": 30, "100 %": 30}
    assert dataclasses.asdict(found)["over"] == 5
