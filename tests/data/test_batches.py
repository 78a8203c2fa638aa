"""Every trained token of a step is asked for exactly once, and by its own document."""

import random

import numpy as np
import pytest
import torch

from tunesmith.data.batches import join, lay_out, packs
from tunesmith.types import Example, Origin


def examples(seed: int, count: int = 30, longest: int = 40) -> list[Example]:
    draw = np.random.default_rng(seed)
    made = []
    for row in range(count):
        length = int(draw.integers(1, longest + 1))
        ids = draw.integers(0, 1000, length).astype(np.int32)
        trained = draw.random(length) < 0.5
        trained[0] = False
        made.append(Example(ids, trained, Origin("d", "d.json", row + 1, row + 1)))
    return made


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("max_tokens", [1, 16, 64, 10_000])
def test_tokens_in_are_tokens_out(seed, max_tokens):
    made = examples(seed)
    chosen = random.Random(seed).sample(range(30), 12)
    batches = lay_out(made, chosen, max_tokens=max_tokens)
    assert sorted(row for b in batches for row in b.rows) == sorted(chosen)
    assert sum(len(b.ids_T) for b in batches) == sum(len(made[i].ids) for i in chosen)
    assert sum(len(b.labels_P) for b in batches) == sum(int(made[i].trained.sum()) for i in chosen)
    for batch in batches:
        assert len(batch.ids_T) <= max_tokens or len(batch.rows) == 1
        for d, row in enumerate(batch.rows):
            start, stop = batch.offsets[d : d + 2]
            assert batch.ids_T[start:stop].tolist() == made[row].ids.tolist()
            assert batch.positions_T[start:stop].tolist() == list(range(stop - start))
            inside = (batch.predict_P >= start) & (batch.predict_P < stop - 1)
            assert batch.labels_P[inside].tolist() == made[row].ids[made[row].trained].tolist()


def test_the_first_token_of_a_document_is_never_predicted_even_if_marked():
    origin = Origin("d", "d.json", 1, 1)
    ids = np.array([5, 6, 7], np.int32)
    all_trained = [Example(ids, np.ones(3, bool), origin) for _ in range(3)]
    batch = join(all_trained, [0, 1, 2])
    assert batch.predict_P.tolist() == [0, 1, 3, 4, 6, 7]
    assert batch.labels_P.tolist() == [6, 7] * 3
    assert all_trained[0].trained.all(), "the example itself is left as it is"


def test_dtypes_and_offsets_are_as_promised():
    batch = join(examples(0), [3, 1])
    kinds = {t.dtype for t in (batch.ids_T, batch.positions_T, batch.predict_P, batch.labels_P)}
    assert kinds == {torch.int64}
    assert batch.offsets[0] == 0
    assert batch.offsets[-1] == len(batch.ids_T)
    assert torch.equal(batch.labels_P, batch.ids_T[batch.predict_P + 1])


def test_a_batch_without_trained_tokens_asks_for_nothing():
    example = Example(np.array([1, 2], np.int32), np.zeros(2, bool), Origin("d", "d.json", 1, 1))
    batch = join([example], [0])
    assert batch.predict_P.numel() == batch.labels_P.numel() == 0


def test_one_long_example_has_a_batch_of_its_own():
    made = examples(1, count=6, longest=10)
    long = Example(np.arange(100, dtype=np.int32), np.ones(100, bool), made[0].origin)
    batches = lay_out([*made, long], range(7), max_tokens=50)
    assert [b.rows for b in batches if 6 in b.rows] == [(6,)]


def test_documents_keep_the_order_of_the_step_and_the_layout_is_a_pure_function():
    made = examples(2)
    chosen = [9, 2, 17, 4]
    (batch,) = lay_out(made, np.array(chosen), max_tokens=10_000)
    assert batch.rows == (9, 2, 17, 4)
    first, again = (lay_out(made, chosen, max_tokens=40) for _ in range(2))
    assert [b.rows for b in first] == [b.rows for b in again]


@pytest.mark.parametrize("bucketed", [False, True])
def test_packs_hold_every_row_once_in_as_many_packs_each_epoch(bucketed):
    lengths = [len(e.ids) for e in examples(3, count=200)]

    def of_epoch(epoch, seed=1):
        found = packs(lengths, cutoff_len=64, seed=seed, epoch=epoch, bucketed=bucketed)
        assert found.tokens(lengths).sum() == sum(lengths)
        return [pack.tolist() for pack in found]

    epochs = [of_epoch(epoch) for epoch in range(3)]
    for found in epochs:
        assert sorted(row for pack in found for row in pack) == list(range(200))
        assert all(sum(lengths[row] for row in pack) <= 64 for pack in found)
    assert len({len(found) for found in epochs}) == 1
    assert epochs[0] != epochs[1]
    assert epochs[0] != of_epoch(0, seed=2)
    assert epochs[0] == of_epoch(0)
