"""Whatever rows share: each trained token is predicted from exactly its own row's tokens."""

import numpy as np
import pytest
import torch

from alike import alike, rows_of
from tunesmith.data import prefixes
from tunesmith.data.batches import lay_out
from tunesmith.data.prefixes import LEAST

SYSTEM = tuple(range(100, 140))


def seen_from(batch, place):
    """Where the tokens stand that the token at `place` sees, itself included: every token before it
    whose segment it descends from."""
    lengths = np.diff(batch.offsets)
    until = np.repeat(batch.until or batch.offsets[1:], lengths)
    return np.flatnonzero(until[: place + 1] > place)


def check(batch, examples):
    """Every trained token of every row is asked for, in order, after what stands before it."""
    assert batch.num_tokens == sum(len(examples[row].ids) for row in batch.rows)
    assert batch.saved == batch.num_tokens - len(batch.ids_T)
    assert len(batch.num_trained) == len(batch.rows)
    places = batch.predict_P.split(batch.num_trained)
    labels = batch.labels_P.split(batch.num_trained)
    for row, at, asked in zip(batch.rows, places, labels, strict=True):
        learned = np.flatnonzero(examples[row].trained[1:]) + 1
        assert asked.tolist() == examples[row].ids[learned].tolist()
        for place, number in zip(at.tolist(), learned.tolist(), strict=True):
            seen = seen_from(batch, place)
            assert batch.ids_T[seen].tolist() == examples[row].ids[:number].tolist()
            assert batch.positions_T[seen].tolist() == list(range(number))


@pytest.mark.parametrize("max_tokens", [10_000, 120, 30, 1])
@pytest.mark.parametrize("seed", range(12))
def test_each_row_is_predicted_from_its_own_beginning_whatever_it_shares(seed, max_tokens):
    examples = alike(seed, count=3 + 2 * seed)
    rows = np.random.default_rng(seed).permutation(len(examples)).tolist()
    batches = lay_out(examples, rows, max_tokens=max_tokens, share=True)
    assert sorted(row for batch in batches for row in batch.rows) == sorted(rows)
    for batch in batches:
        check(batch, examples)
        longest = max(len(examples[row].ids) for row in batch.rows)
        assert len(batch.ids_T) <= max(max_tokens, longest)
    again = lay_out(examples, rows, max_tokens=max_tokens, share=True)
    assert [(b.rows, b.offsets, b.until) for b in batches] == [
        (b.rows, b.offsets, b.until) for b in again
    ]


def test_a_system_prompt_stands_once():
    examples = rows_of(*[(*SYSTEM, 200 + i, 7, 8) for i in range(5)])
    (batch,) = lay_out(examples, range(5), max_tokens=1000, share=True)
    assert len(batch.ids_T) == 40 + 5 * 3
    assert batch.offsets == (0, 40, 43, 46, 49, 52, 55)
    assert batch.until == (55, 43, 46, 49, 52, 55)
    assert batch.saved == 4 * 40
    # 39 of the prompt in every row, then three from its end on
    assert batch.num_trained == (42,) * 5
    check(batch, examples)


def test_rows_that_are_equal_are_computed_once_and_count_each():
    examples = rows_of(*[SYSTEM] * 3)
    (batch,) = lay_out(examples, [2, 0, 1], max_tokens=1000, share=True)
    assert (batch.offsets, batch.until, batch.saved) == ((0, 40), (40,), 80)
    assert batch.num_trained == (39,) * 3
    check(batch, examples)


def test_a_row_that_begins_another_adds_nothing_and_branches_nothing():
    examples = rows_of(SYSTEM[:21], SYSTEM[:3], SYSTEM)
    (batch,) = lay_out(examples, range(3), max_tokens=40, share=True)
    assert batch.offsets == (0, 40)
    assert set(batch.rows) == {0, 1, 2}
    check(batch, examples)


def test_history_that_grows_is_as_long_as_its_end():
    examples = rows_of(*[range(10, 10 + 30 * turn) for turn in range(1, 7)])
    (batch,) = lay_out(examples, range(6), max_tokens=180, share=True)
    assert len(batch.ids_T) == 180
    assert batch.saved == 30 * (1 + 2 + 3 + 4 + 5)


def test_three_branchings_deep():
    deep = [(*SYSTEM, *([a] * 20), *([b] * 20), c) for a in (1, 2) for b in (3, 4) for c in (5, 6)]
    examples = rows_of(*deep)
    (batch,) = lay_out(examples, range(8), max_tokens=1000, share=True)
    assert len(batch.ids_T) == 40 + 2 * 20 + 4 * 20 + 8
    assert max(sum(batch.until[s] > t for s in range(t)) for t in range(15)) >= 3
    check(batch, examples)


def test_rows_that_share_nothing_are_laid_out_as_without_sharing():
    examples = rows_of(*[range(start, start + 25) for start in (400, 10, 200, 300)])
    plain = lay_out(examples, [3, 0, 2, 1], max_tokens=60)
    shared = lay_out(examples, [3, 0, 2, 1], max_tokens=60, share=True)
    for one, other in zip(plain, shared, strict=True):
        assert one.rows == other.rows
        assert one.offsets == other.offsets
        assert other.until == ()
        assert other.saved == 0
        for name in ("ids_T", "positions_T", "predict_P", "labels_P"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_few_tokens_in_common_are_not_worth_a_branching():
    short = rows_of((*range(LEAST - 1), 90, 91), (*range(LEAST - 1), 92, 93))
    (batch,) = lay_out(short, range(2), max_tokens=1000, share=True)
    assert batch.until == ()
    enough = rows_of((*range(LEAST), 90, 91), (*range(LEAST), 92, 93))
    (batch,) = lay_out(enough, range(2), max_tokens=1000, share=True)
    assert batch.until == (LEAST + 4, LEAST + 2, LEAST + 4)


def test_branchings_that_are_close_become_one():
    """Rows that agree by chance in a token or two after the prompt leave it together."""
    examples = rows_of(*[(*SYSTEM, *tail) for tail in ((1, 2, 3), (1, 2, 4), (1, 5, 6), (7, 8, 9))])
    (batch,) = lay_out(examples, range(4), max_tokens=1000, share=True)
    assert batch.offsets == (0, 40, 43, 46, 49, 52)
    check(batch, examples)


@pytest.mark.parametrize("seed", range(6))
def test_no_segment_that_is_shared_is_shorter_than_the_least(seed):
    examples = alike(seed, count=40)
    (batch,) = lay_out(examples, range(40), max_tokens=10**6, share=True)
    ends = np.array(batch.offsets[1:])
    shared = np.diff(batch.offsets)[np.array(batch.until) > ends].tolist()
    assert shared
    assert min(shared) >= LEAST


def test_what_a_cut_group_shares_is_computed_again_in_each_piece():
    examples = rows_of(*[(*SYSTEM, 200 + i, *range(19)) for i in range(6)])
    parts = prefixes.parts(examples, range(6), max_tokens=80)
    assert [part.tokens for part in parts] == [80, 80, 80]
    assert sorted(row for part in parts for row in part.rows) == list(range(6))


def test_groups_stand_in_the_order_of_their_first_rows():
    a, b = [(*SYSTEM, 1, 2), (*SYSTEM, 3, 4)], [(*range(300, 330), 1), (*range(300, 330), 2)]
    examples = rows_of(b[0], (9, 9, 9), a[0], b[1], a[1])
    parts = prefixes.parts(examples, [4, 1, 3, 0, 2], max_tokens=1000)
    assert [sorted(part.rows) for part in parts] == [[2, 4], [1], [0, 3]]
