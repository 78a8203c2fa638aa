"""What is read from a store is what was written, whatever part of it is asked for."""

import random

import numpy as np

from stored import stored
from tunesmith.data import token_store
from tunesmith.data.token_store import Writer, digest, read
from tunesmith.types import Example, Origin


def examples(count, seed=0):
    chance = random.Random(seed)
    made = []
    for row in range(1, count + 1):
        for _ in range(chance.choice([1, 1, 1, 3])):
            length = chance.randrange(1, 40)
            ids = np.array([chance.randrange(50_000) for _ in range(length)], np.int32)
            trained = np.array([chance.random() < 0.5 for _ in range(length)], bool)
            made.append(Example(ids, trained, Origin("d", f"f{row % 3}.json", 7 * row, row)))
    return made


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.trained.tolist() == other.trained.tolist()
        assert one.origin == other.origin
        assert (one.ids.dtype, one.trained.dtype) == (np.int32, bool)


def test_what_was_written_is_read(monkeypatch):
    monkeypatch.setattr(token_store, "_FLUSHED", 100)  # several pieces
    made = examples(200)
    store = stored(made)
    same(store, made)
    same(store[10:20], made[10:20])
    same([store[0], store[-1]], [made[0], made[-1]])
    assert store.origin(5) == made[5].origin
    assert store.lengths.tolist() == [len(e.ids) for e in made]
    assert store.num_trained.tolist() == [e.trained.sum() for e in made]
    assert store.records("largest").tolist() == [e.ids.max() for e in made]


def test_a_part_is_the_same_examples_in_their_order():
    made = examples(60)
    mask = np.arange(len(made)) % 3 == 1
    part = stored(made).choose(mask)
    kept = [e for e, there in zip(made, mask, strict=True) if there]
    same(part, kept)
    assert part.lengths.tolist() == [len(e.ids) for e in kept]
    same(part.choose(np.arange(len(kept)) > 4), kept[5:])


def test_examples_of_one_row_have_one_number():
    made = examples(60)
    rows = stored(made).records("row").tolist()
    numbers = {origin: i for i, origin in enumerate(dict.fromkeys(e.origin for e in made))}
    assert rows == [numbers[e.origin] for e in made]


def test_what_teaches_the_same_is_known_by_its_first():
    made = examples(30)
    again = [made[3], made[7], made[3]]
    other = made[5]._replace(trained=~made[5].trained)
    places = [Origin("e", "g.json", i, i) for i in range(4)]
    made += [e._replace(origin=o) for e, o in zip([*again, other], places, strict=True)]
    store = stored(made)
    end = len(made) - 4
    assert store.repeated().tolist() == [[3, 3], [7, 7], [end, 3], [end + 1, 7], [end + 2, 3]]
    assert store.choose(np.arange(len(made)) > 5).repeated()[0].tolist() == [1, 7]
    assert store.digests(0, 2).tobytes() == digest(made[0]) + digest(made[1])
    assert store.datasets() == {"d": end, "e": 4}


def test_an_empty_store_has_nothing(tmp_path):
    with Writer(tmp_path) as writer:
        writer.finish()
    store = read(tmp_path, [])
    assert (len(store), list(store), len(store.repeated()), store.datasets()) == (0, [], 0, {})
    assert store.lengths.tolist() == []


def test_examples_are_taken_in_any_order_and_as_often_as_asked():
    made = examples(30)
    store = stored(made)
    order = [7, 0, 7, 7, 29, 3]
    taken = store.take(np.array(order))
    same(taken, [made[i] for i in order])
    assert taken.lengths.tolist() == [len(made[i].ids) for i in order]
    assert sum(taken.datasets().values()) == 6
    same(taken.distinct(), [made[i] for i in (0, 3, 7, 29)])
    assert store.distinct() is store


def test_the_owner_of_an_example_is_its_dataset():
    made = [
        e._replace(origin=e.origin._replace(dataset="xyz"[i % 3]))
        for i, e in enumerate(examples(9))
    ]
    owners = stored(made).owners(["z", "x"])
    assert owners.tolist() == [{"x": 1, "y": -1, "z": 0}[e.origin.dataset] for e in made]


def test_lengths_before_the_cut_and_turns_are_kept(tmp_path):
    made = examples(4)
    with Writer(tmp_path) as writer:
        for turns, example in enumerate(made, start=1):
            writer.add([example], held_out=False, turns=turns)
        writer.counts.whole.update([30, 7, 30])
        writer.counts.needed.update([20, 7, 20])
        writer.finish()
    store = read(tmp_path, [("d", "f.json")] * 3)
    assert store.records("turns").tolist() == list(range(1, len(made) + 1))
    assert store.asked.tolist() == [(7, 1, 1), (20, 0, 2), (30, 2, 0)]
    assert store.owners(["other", "d"]).tolist() == [1] * len(made)
