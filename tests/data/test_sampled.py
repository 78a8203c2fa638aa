"""A sample stands for all rows: what it says of them is near the truth, and says how near."""

import json
import random

import numpy as np
import pytest

from stored import stored
from tiny_tokenizer import load_tiny
from tunesmith.data.population import Population
from tunesmith.data.prepare import prepare
from tunesmith.data.sampled import Drawn, Sampling, scaled
from tunesmith.errors import DataError
from tunesmith.templates import choose
from tunesmith.types import Example, Origin

TOKENIZER = load_tiny()
CHATML = choose("chatml", TOKENIZER)
SAMPLE = Sampling(above=3000, rows=600)


def rows(count, *, longest, bad=0.0, seed=0):
    """Rows of very different lengths; a share of them cannot be used."""
    rng, words = random.Random(seed), ["one", "two", "three", "four", "five", "six"]
    return [
        {
            "instruction": f"{i}",
            "output": ""
            if rng.random() < bad
            else " ".join(rng.choices(words, k=int(longest ** rng.random()))),
        }
        for i in range(count)
    ]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def write(directory, **datasets):
    info = {}
    for name, found in datasets.items():
        text = "".join(json.dumps(row) + "\n" for row in found)
        (directory / f"{name}.jsonl").write_text(text)
        info[name] = {"file_name": f"{name}.jsonl"}
    (directory / "dataset_info.json").write_text(json.dumps(info))


def run(directory, *names, sampling=SAMPLE, **options):
    return prepare(
        dataset=names, dataset_dir=directory, cutoff_len=2048, renderer=CHATML,
        tokenizer=TOKENIZER, sampling=sampling, **options,
    )  # fmt: skip


def figures(prepared):
    train = prepared.train
    return [len(train), int(train.lengths.sum()), int(train.num_trained.sum()), prepared.mix]


def test_the_number_of_examples_is_exact_and_tokens_are_within_what_is_said(tmp_path):
    """Of many seeds, 95 in 100 are within; four times in five that is hardly ever missed."""
    write(tmp_path, a=rows(3500, longest=200))
    exact = run(tmp_path, "a", sampling=None, val_size=0.1)
    assert exact.sampled is None
    tokens, within = int(exact.train.lengths.sum()), 0
    for seed in range(12):
        found = run(tmp_path, "a", sampling=SAMPLE._replace(asked=True), val_size=0.1, seed=seed)
        assert found.sampled is not None
        assert (found.sampled.rows, found.sampled.of, found.sampled.one_each) == (600, 3500, True)
        assert (len(found.train), len(found.eval)) == (len(exact.train), len(exact.eval))
        assert found.num_leaked == 0
        assert 0.02 < found.sampled.tokens_within < 0.12
        off = abs(int(found.train.lengths.sum()) / tokens - 1)
        assert off < 2 * found.sampled.tokens_within
        within += off < found.sampled.tokens_within
    assert within >= 10


def test_the_same_seed_draws_the_same_rows(tmp_path):
    write(tmp_path, a=rows(3500, longest=200))
    first, again, other = (run(tmp_path, "a", seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert figures(first) == figures(again)


def test_rows_stand_for_equally_many_others_far_and_near(tmp_path):
    write(tmp_path, a=rows(3500, longest=20))
    found = run(tmp_path, "a").train
    counts: dict[int, int] = {}
    for example in found:
        counts[example.origin.row] = counts.get(example.origin.row, 0) + 1
    assert set(counts.values()) == {5, 6}
    assert len(set(found.records("row").tolist())) == 3500


def test_the_order_of_the_files_is_kept_from_afar(tmp_path):
    """`disable_shuffling` and rows that grow: the first tenth of a sample is short, too."""
    write(tmp_path, a=rows(15_000, longest=4) + rows(15_000, longest=200))
    lengths = run(tmp_path, "a", sampling=Sampling(above=3000, rows=4000)).train.lengths
    assert lengths[:9_000].mean() * 1.5 < lengths[-9_000:].mean()


@pytest.mark.parametrize("asked", [False, True])
def test_where_all_rows_are_prepared_nothing_is_estimated_unless_asked(tmp_path, asked):
    write(tmp_path, a=rows(3500, longest=20))
    exact = run(tmp_path, "a", sampling=None)
    found = run(tmp_path, "a", sampling=SAMPLE._replace(asked=asked))
    assert (found.sampled is not None) is asked
    assert (found.fingerprint == exact.fingerprint) is not asked


@pytest.mark.parametrize(("options", "of"), [({}, 3001), ({"max_samples": 3000}, None)])
def test_only_more_rows_than_the_threshold_are_sampled(tmp_path, options, of):
    write(tmp_path, a=rows(3001, longest=4))
    found = run(tmp_path, "a", **options).sampled
    assert (found and found.of) == of


def test_rows_that_cannot_be_used_are_scaled_and_told(tmp_path):
    write(tmp_path, a=rows(3500, longest=200, bad=0.2))
    exact = run(tmp_path, "a", sampling=None, on_bad_row="skip")
    found = run(tmp_path, "a", on_bad_row="skip", sampling=SAMPLE._replace(asked=True))
    assert found.sampled is not None
    assert not found.sampled.one_each
    assert found.ledger.num_read == 600
    skipped = found.ledger.num_skipped
    assert 80 < skipped < 160
    assert len(found.train) == round(3500 * (600 - skipped) / 600)
    off = abs(found.train.lengths.sum() / exact.train.lengths.sum() - 1)
    assert off < 2 * found.sampled.tokens_within


def test_bad_rows_of_the_sample_stop_the_plan_and_it_says_how_many_were_read(tmp_path):
    write(tmp_path, a=rows(3500, longest=20, bad=0.01))
    with pytest.raises(DataError) as error:
        run(tmp_path, "a")
    assert "of 600 rows, a sample of 3,500, that cannot be used" in str(error.value)
    assert "the other rows" in str(error.value)


@pytest.mark.parametrize("strategy", ["concat", "interleave_under", "interleave_over"])
def test_a_mix_of_a_sample_takes_what_the_mix_of_all_takes(tmp_path, strategy):
    write(tmp_path, a=rows(3500, longest=200), b=rows(1000, longest=30), c=rows(40, longest=9))
    options = {"mix_strategy": strategy, "eval_dataset": ["c"]}
    if strategy != "concat":
        options["interleave_probs"] = (0.5, 0.5)
    found = run(tmp_path, "a", "b", **options)
    exact = run(tmp_path, "a", "b", sampling=None, **options)
    assert found.sampled is not None
    assert (found.sampled.of, len(found.eval)) == (4540, 40)
    assert found.mix == exact.mix
    assert len(found.train) == len(exact.train)
    off = abs(found.train.lengths.sum() / exact.train.lengths.sum() - 1)
    assert off < 2 * found.sampled.tokens_within


def test_all_examples_of_a_row_stand_together():
    examples = stored(
        [
            Example(np.full(3, row + 1, np.int32), np.array([False, True, True]), origin)
            for row in range(4)
            for origin in [Origin("d", "f", row, row)] * (1 + row % 2)
        ]
    )
    part = Population((), (10,), np.arange(0, 10, 2)[:4])
    drawn = Drawn(("d",), (Population((), (10,), np.arange(10)),), (part,), 42)
    found = scaled(examples, drawn, ["d"])
    numbers = found.records("row").tolist()
    assert sorted(set(numbers)) == list(range(10))
    assert numbers == sorted(numbers)
    for row in range(10):
        mine = {e.origin.row for e, number in zip(found, numbers, strict=True) if number == row}
        assert len(mine) == 1
        assert numbers.count(row) == 1 + mine.pop() % 2
    half = found.choose(np.arange(len(found)) % 2 == 0)
    assert half.records("row").tolist() == numbers[::2]
    assert [e.origin.row for e in found.distinct()] == [e.origin.row for e in examples]


def test_a_dataset_that_is_read_whole_adds_no_doubt(tmp_path):
    """Two sizes of sample of one dataset, beside one that is read whole: the bound follows."""
    write(tmp_path, a=rows(3500, longest=200), b=rows(200, longest=200, seed=1))
    found = [run(tmp_path, "a", "b", sampling=SAMPLE._replace(rows=n)) for n in (400, 1600)]
    small, large = (one.sampled for one in found)
    assert small is not None
    assert large is not None
    assert 1.9 < small.tokens_within / large.tokens_within < 3.2  # sqrt(4 * (1-.11) / (1-.43))
    whole = run(tmp_path, "b", sampling=Sampling(0, 500, asked=True)).sampled
    assert whole is not None
    assert (whole.rows, whole.tokens_within) == (200, 0)
