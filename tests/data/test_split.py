"""Held-out rows have the sizes that users know, and never stand on both sides."""

import numpy as np
import pytest

from stored import sides, stored
from tunesmith.data.split import copies, fingerprint, held_out_rows, split
from tunesmith.errors import ConfigError
from tunesmith.types import Example, Origin


def example(row, ids=(1, 2, 3), trained=(False, True, True)):
    return Example(
        np.array(ids, np.int32), np.array(trained, bool), Origin("d", "d.json", row, row)
    )


def many(count):
    return [example(row, (row, 2)) for row in range(count)]


@pytest.mark.parametrize(
    ("rows", "val_size", "held"),
    [
        (4019, 0.1, 402),
        (10, 0.1, 1),
        (11, 0.1, 2),
        (10, 1, 1),
        (10, 1.0, 1),
        (10, 3, 3),
        (7, 0.5, 4),
    ],
)
def test_held_out_rows_are_as_many_as_users_know(rows, val_size, held):
    assert held_out_rows(rows, val_size) == held
    train, held_out = split(stored(many(rows)), val_size, 42)
    assert (len(train), len(held_out)) == (rows - held, held)


def test_all_examples_of_a_row_are_on_one_side_and_rows_are_what_is_counted():
    texts = [example(row, (row, part)) for row in range(20) for part in range(1 + row % 3)]
    train, held_out = split(stored(texts), 0.25, 42)
    rows = [{e.origin.row for e in side} for side in (train, held_out)]
    assert not rows[0] & rows[1]
    assert len(rows[1]) == 5
    assert len(train) + len(held_out) == len(texts)


@pytest.mark.parametrize("seed", range(5))
def test_the_two_sides_are_disjoint_complete_and_in_file_order(seed):
    train, held_out = split(stored(many(50)), 0.3, seed)
    rows = [[e.origin.row for e in side] for side in (train, held_out)]
    assert sorted(rows[0] + rows[1]) == list(range(50))
    assert all(side == sorted(side) for side in rows)


def test_the_seed_decides_which_rows_are_held_out():
    found = {tuple(e.origin.row for e in split(stored(many(50)), 5, seed)[1]) for seed in range(5)}
    assert len(found) == 5
    assert split(stored(many(50)), 5, 1)[1][0].origin == split(stored(many(50)), 5, 1)[1][0].origin


@pytest.mark.parametrize("val_size", [10, 11, 0.95])
def test_something_must_be_left_to_train_on(val_size):
    with pytest.raises(ConfigError) as error:
        split(stored(many(10)), val_size, 0)
    assert error.value.where == "val_size"


def test_copies_and_leaks_are_found_by_ids_and_trained_flags():
    other_mask = example(4, trained=(False, False, True))
    train, held_out = sides(
        [example(1), example(2), other_mask, example(3)],
        [example(9), example(8, (7, 8)), other_mask._replace(origin=Origin("d", "d.json", 5, 5))],
    )
    twice, leaked = copies(train, held_out)
    assert (twice.number, leaked.number) == (2, 2)
    assert [[place.row for place in c.first or ()] for c in (twice, leaked)] == [[2, 1], [9, 1]]
    assert copies(held_out, train)[0] == (0, None)


def test_a_copy_among_the_held_out_rows_alone_is_none_of_training():
    train, held_out = sides([example(1, (5, 6))], [example(2), example(3)])
    assert copies(train, held_out) == ((0, None), (0, None))


def test_a_row_of_several_examples_is_one_copy_if_all_of_them_are():
    def row(number, *texts):
        return [example(number, text) for text in texts]

    one, two, other = (1, 2), (1, 2, 3), (1, 2, 4)
    train, held_out = sides(
        [
            *row(1, one, two),
            *row(2, one, two),
            *row(3, one, other),
            *row(4, one),
            *row(5, two, one),
        ],
        [*row(6, one, two), *row(7, one, (9, 9)), *row(8, one)],
    )
    twice, leaked = copies(train, held_out)
    assert (twice.number, leaked.number) == (1, 2)
    assert [[place.row for place in c.first or ()] for c in (twice, leaked)] == [[2, 1], [6, 1]]


def told(train, held_out):
    return fingerprint(*sides(train, held_out))


def test_the_fingerprint_sees_ids_flags_order_and_side_but_not_places():
    base = [example(1), example(2, (4, 5, 6))]
    moved = [example(7), example(9, (4, 5, 6))]
    assert told(base, []) == told(moved, [])
    others = [
        (base[::-1], []),
        (base[:1], base[1:]),
        ([example(1, trained=(False, False, True)), base[1]], []),
        ([example(1, (1, 2, 4)), base[1]], []),
        (base[:1], []),
    ]
    assert len({told(*both) for both in [(base, []), *others]}) == 6
    assert fingerprint(stored(base)) not in (told(base, []), fingerprint(stored(base[:1])))
