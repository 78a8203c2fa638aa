"""A step holds the examples that (seed, number) say, and an epoch holds every one once."""

import numpy as np
import pytest

from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.data.batches import packs
from tunesmith.training.units import Units, unit_of

UNITS = ["examples", "packs", "buckets"]
LENGTHS = np.random.default_rng(0).integers(5, 64, 50)


def asked(tmp_path, **keys):
    return load(tiny_run(tmp_path, cutoff_len=64, **keys))


@pytest.mark.parametrize("unit", UNITS)
def test_every_example_comes_once_per_epoch(tmp_path, unit):
    run = asked(tmp_path)
    units = Units(LENGTHS, run, unit)
    per_epoch = -(-units.count // run.global_batch())
    for epoch in range(3):
        numbers = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
        seen = [index for number in numbers for index in units.examples(number)]
        assert sorted(seen) == list(range(50))
        assert LENGTHS[seen].sum() == LENGTHS.sum()


@pytest.mark.parametrize("unit", UNITS)
def test_a_step_does_not_depend_on_those_before_it(tmp_path, unit):
    run = asked(tmp_path)
    straight = Units(LENGTHS, run, unit)
    steps = [straight.examples(number) for number in range(1, 60)]
    assert steps[40] == Units(LENGTHS, run, unit).examples(41)
    assert steps[40] == straight.examples(41)
    assert steps != [
        Units(LENGTHS, asked(tmp_path, seed=7), unit).examples(n + 1) for n in range(59)
    ]


@pytest.mark.parametrize("unit", UNITS)
def test_a_step_holds_the_global_batch_of_units(tmp_path, unit):
    run = asked(tmp_path)
    units = Units(LENGTHS, run, unit)
    first = units.examples(1)
    if unit == "examples":
        assert len(first) == run.global_batch()
    else:
        assert LENGTHS[first].sum() <= 64 * run.global_batch()
        assert len(first) > run.global_batch()


def test_the_unit_is_what_the_run_and_the_model_say(tmp_path):
    plain, packed = asked(tmp_path), asked(tmp_path, packing=True)
    neat = asked(tmp_path, neat_packing=True)
    for state in (False, True):
        assert unit_of(plain, carries_state=state) == "examples"
    assert unit_of(packed, carries_state=False) == unit_of(neat, carries_state=False) == "packs"
    assert unit_of(packed, carries_state=True) == "buckets"


def test_buckets_hold_like_lengths_and_packs_do_not(tmp_path):
    run = asked(tmp_path)
    for unit in ("packs", "buckets"):
        made = packs(LENGTHS, cutoff_len=64, seed=run.train.seed, bucketed=unit == "buckets")
        units = Units(LENGTHS, run, unit)
        assert units.count == len(made)
        per_epoch = -(-units.count // run.global_batch())
        steps = [set(units.examples(number)) for number in range(1, per_epoch + 1)]
        for items in made:
            assert any(set(items.tolist()) <= step for step in steps)
