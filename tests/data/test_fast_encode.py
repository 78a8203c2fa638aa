"""Whoever reads the texts of a preparation, the ids are those of the tokenizers library."""

import json
import sys

import numpy as np
import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import fast_encode
from tunesmith.data.codec import Codec
from tunesmith.data.fast_encode import Differs, FastEncode, library
from tunesmith.data.prepare import prepare
from tunesmith.templates import choose

TOKENIZER = load_tiny()
BACKEND = Codec(TOKENIZER, "").backend
TEXTS = [f"What is {i} and the capital of France?<|im_end|>" for i in range(200)]
MANY = 1 << 40
WRONG = "fastokens gives other ids than tokenizers"


class Other:
    """In the place of fastokens: the ids of the library, but for texts that hold a word."""

    def __init__(self, wrong=None):
        self.wrong, self.read = wrong, 0

    def __call__(self, backend):
        def ids(texts):
            self.read += len(texts)
            found = library(backend)(texts)
            for text, own in zip(texts, found, strict=True):
                if self.wrong is not None and self.wrong in text:
                    own[0] += 1
            return found

        return ids


@pytest.fixture
def other(monkeypatch):
    def put(wrong=None):
        stand_in = Other(wrong)
        monkeypatch.setattr(fast_encode, "_fastokens", stand_in)
        return stand_in

    return put


def same(left, right):
    return all(map(np.array_equal, left, right))


def test_the_library_reads_until_the_other_is_worth_its_building(other):
    stand_in, fast = other(), FastEncode(BACKEND)
    cost = fast_encode._COST * BACKEND.get_vocab_size()
    read = 0
    while read < cost:
        assert stand_in.read == 0
        fast(TEXTS)
        read += sum(map(len, TEXTS))
    fast(TEXTS)
    before = stand_in.read
    assert before > len(TEXTS)
    assert same(fast(TEXTS), library(BACKEND)(TEXTS))
    assert stand_in.read == before + len(TEXTS)
    assert not list(fast.notes())


def test_where_much_is_expected_only_the_first_texts_are_the_librarys(other):
    stand_in, fast = other(), FastEncode(BACKEND, expected=MANY)
    fast(TEXTS[:3])
    assert stand_in.read == 0
    assert same(fast(TEXTS), library(BACKEND)(TEXTS))
    assert stand_in.read > len(TEXTS)


def test_other_ids_for_the_probe_or_the_first_texts_leave_all_to_the_library(other):
    for wrong in ("👍🏽", "What is 1 and"):  # of the probe; of the data
        stand_in, fast = other(wrong), FastEncode(BACKEND, expected=MANY)
        for _ in range(3):
            assert same(fast(TEXTS), library(BACKEND)(TEXTS))
        read = stand_in.read
        fast(TEXTS)
        assert stand_in.read == read
        assert WRONG in next(fast.notes())


def test_other_ids_later_are_found_and_then_all_are_the_librarys(other):
    other("zebra")
    fast = FastEncode(BACKEND, expected=MANY)
    fast(TEXTS)
    zebras = [f"zebra {i}" for i in range(100)]
    with pytest.raises(Differs):
        fast(zebras)
    assert same(fast(zebras), library(BACKEND)(zebras))
    assert WRONG in next(fast.notes())


def test_one_text_in_64_is_read_by_both_however_they_are_cut(other, monkeypatch):
    other()
    fast = FastEncode(BACKEND, expected=MANY)
    fast(TEXTS)
    fast(TEXTS[:1])
    compared = []
    fast._library = lambda texts: compared.extend(texts) or library(BACKEND)(texts)
    texts = [f"text {i}" for i in range(639)]  # one is before them
    for start in (0, 1, 64, 100, 101, 500):
        end = {0: 1, 1: 64, 64: 100, 100: 101, 101: 500, 500: 639}[start]
        fast(texts[start:end])
    assert compared == [f"text {i}" for i in range(63, 639, 64)]


def test_without_fastokens_or_with_an_unknown_form_the_library_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastokens", None)
    fast = FastEncode(BACKEND, expected=MANY)
    for _ in range(3):
        assert same(fast(TEXTS), library(BACKEND)(TEXTS))
    assert not list(fast.notes())
    state = json.loads(BACKEND.to_str()) | {"normalizer": {"type": "Lowercase"}}
    unknown = type(BACKEND).from_str(json.dumps(state))
    monkeypatch.setattr(fast_encode, "_fastokens", lambda _: pytest.fail("not of a known form"))
    fast = FastEncode(unknown, expected=MANY)
    for _ in range(3):
        fast(TEXTS)


def prepared(folder, **options):
    return prepare(
        dataset=["rows"],
        dataset_dir=folder,
        renderer=choose("chatml", TOKENIZER),
        tokenizer=TOKENIZER,
        cutoff_len=2048,
        **options,
    )


@pytest.fixture
def folder(tmp_path):
    rows = [{"instruction": f"ask {i}", "output": f"say {i} " * 20} for i in range(1500)]
    rows += [{"instruction": "zebra", "output": f"{i}"} for i in range(300)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return tmp_path


def test_what_is_prepared_is_the_same_bytes_and_has_the_same_name(folder, monkeypatch):
    pytest.importorskip("fastokens")
    used, real = [], fast_encode._fastokens
    monkeypatch.setattr(fast_encode, "_fastokens", lambda b: used.append(b) or real(b))
    fast = prepared(folder)
    assert len(used) == 1
    assert prepared(folder, max_samples=1800).fingerprint == fast.fingerprint  # another name
    monkeypatch.setattr(fast_encode, "_COST", 1 << 40)
    assert prepared(folder).fingerprint == fast.fingerprint  # found
    again = prepared(folder, overwrite_cache=True)
    assert again.fingerprint == fast.fingerprint
    assert again.ledger.as_dict() == fast.ledger.as_dict()
    assert len(used) == 2


def test_a_preparation_in_which_ids_differ_is_made_again_by_the_library(folder, other, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(fast_encode, "_COST", 1 << 40)
        right = prepared(folder)
    stand_in = other("zebra")
    made = prepared(folder, overwrite_cache=True)
    assert stand_in.read > 1000
    assert made.fingerprint == right.fingerprint
    assert any(WRONG in note for note in made.ledger.notes)
    assert made.ledger.files == right.ledger.files
