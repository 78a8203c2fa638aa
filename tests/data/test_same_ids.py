"""Where fastokens may be used its ids are those of the tokenizers library, whatever the text."""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken

from real_tokenizers import NAMES, real
from tiny_tokenizer import load_tiny
from tunesmith.data.codec import Codec
from tunesmith.data.fast_encode import _fastokens, library
from tunesmith.data.same_ids import APART, ODD, known, probe

SAME_FORM = ("neutral", "mistral_v3", "mistral_tekken")  # as another one, at length only
DATA = Path(__file__).parents[3] / "shared" / "data"


def bare(name):
    return Codec(load_tiny() if name == "tiny" else real(name), "").backend


def changed(**parts):
    """The tiny tokenizer with another pipeline or other facts of its model."""
    state = json.loads(bare("tiny").to_str())
    state["model"] |= parts.pop("model", {})
    return tokenizers.Tokenizer.from_str(json.dumps({**state, **parts}))


def differing(backend, texts, fast=None):
    """Texts that both libraries read as other ids."""
    pytest.importorskip("fastokens")
    fast = fast or _fastokens(backend)
    assert fast is not None
    texts = list(texts)
    both = zip(texts, library(backend)(texts), fast(texts), strict=True)
    return [text for text, right, other in both if not np.array_equal(right, other)]


@pytest.mark.parametrize(
    "name",
    ["tiny"] + [pytest.param(n, marks=pytest.mark.slow if n in SAME_FORM else ()) for n in NAMES],
)
def test_real_tokenizers_are_known_and_read_alike(name):
    backend, chance = bare(name), random.Random(5)
    assert known(backend)
    assert APART not in "".join(ODD)
    texts = [*probe(backend, seed=1), *cut(chance, 60, 2000), *cut(chance, 2, 60_000)]
    texts += [f"a'{APART}'SB", f" I'{APART}", f"it'{APART}'te"]
    assert differing(backend, texts) == []


def split(regex, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": split(r"\w+")},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        },
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "NFKC"}},
        {"model": {"dropout": 0.1}},
        {"model": {"unk_token": "a"}},
        {"model": {"byte_fallback": True}},
    ],
    ids=str,
)
def test_a_pipeline_of_another_form_is_left_to_the_library(parts):
    assert known(changed())
    assert not known(changed(**parts))


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_added_tokens_that_take_what_stands_around_them_are_left_to_the_library(flag):
    backend = changed()
    backend.add_tokens([AddedToken("<x>", normalized=False, **{flag: True})])
    assert not known(backend)


def test_a_normalized_token_counts_only_where_something_is_normalized():
    backend = changed()
    backend.add_tokens([AddedToken("<x>", normalized=True)])
    assert known(backend)
    backend.normalizer = tokenizers.normalizers.NFC()
    assert not known(backend)


@cache
def source(name):
    return json.loads(real(name).backend.to_str())


def random_tokenizer(seed):
    """A merge table as no trainer makes it: shuffled, with words that nothing leads to."""
    chance = random.Random(seed)
    name = chance.choice(["llama3_1", "smollm2", "gemma3", "mistral_v1"])
    letters = chance.choice(["ab", "abc", "abcdefgh"])
    if name in ("llama3_1", "smollm2"):
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        chance.shuffle(alphabet)
        missing = chance.sample(alphabet, 8) if chance.random() < 0.3 else []
        words, space = [c for c in alphabet if c not in missing or c in f"{letters}Ġ"], "Ġ"
    else:
        words, space = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), *letters, "▁"], "▁"
    vocabulary = {word: number for number, word in enumerate(words)}
    parts, merges = [*letters, space], {}
    for _ in range(chance.choice([20, 200, 1000])):
        pair = chance.choice(parts), chance.choice(parts[-chance.choice([4, 1000]) :])
        if len("".join(pair)) <= 12 and pair not in merges:
            merges[pair] = None
            if "".join(pair) not in vocabulary:
                vocabulary["".join(pair)] = len(vocabulary)
                parts.append("".join(pair))
    merges = list(merges)
    if chance.random() < 0.3:
        chance.shuffle(merges)
    for _ in range(chance.choice([0, 10])):
        vocabulary.setdefault("".join(chance.choices(letters, k=5)), len(vocabulary))
    added = [
        AddedToken("".join(chance.choices("<|ab>", k=chance.randrange(2, 5))), normalized=False)
        for _ in range(chance.choice([0, 3, 12]))
    ]
    state = source(name)
    model = {"vocab": vocabulary, "merges": merges, "ignore_merges": chance.random() < 0.4}
    whole = {**state, "added_tokens": [], "post_processor": None, "decoder": None}
    backend = tokenizers.Tokenizer.from_str(
        json.dumps({**whole, "model": {**state["model"], **model}})
    )
    backend.add_tokens(added)
    texts = ["".join(chance.choices(f"{letters} <|>", k=k)) for k in range(1, 80)]
    texts += ["".join(chance.choices(f"{letters} \n", k=4000)) for _ in range(2)]
    return backend, [*texts, *(text + odd for text, odd in zip(texts, ODD, strict=False))]


@pytest.mark.parametrize("seed", range(40))
def test_any_merge_table_gives_the_same_ids(seed):
    backend, texts = random_tokenizer(seed)
    assert known(backend)
    assert differing(backend, texts) == []


@cache
def real_texts():
    if not DATA.is_dir():
        pytest.skip("shared/data is not there")
    paths = sorted(path for path in DATA.iterdir() if path.suffix in (".json", ".jsonl", ".txt"))
    return [path.read_text(encoding="utf8").replace(APART, "s") for path in paths]


def cut(chance, count, length):
    for text in chance.choices(real_texts(), k=count):
        start = chance.randrange(len(text))
        yield text[start : start + chance.randrange(1, length)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_character_gives_the_same_ids(name):
    fast = _fastokens(bare(name)) if pytest.importorskip("fastokens") else None
    letters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and chr(c) != APART]
    for form in ("a{}b", " {} ", "1{}1", "{0}{0}\n", "e{}\u0301", "\u0301{}X'S", "中{}文"):
        parts = [form.format(letter) for letter in letters]
        texts = ["\x00|".join(parts[i : i + 40]) for i in range(0, len(parts), 40)]
        assert differing(bare(name), texts, fast) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_long_campaigns_of_real_and_made_text_give_the_same_ids(name):
    backend, chance = bare(name), random.Random(6)
    fast = _fastokens(backend) if pytest.importorskip("fastokens") else None
    assert differing(backend, probe(backend, seed=2, size=40), fast) == []
    assert differing(backend, cut(chance, 3000, 6000), fast) == []
    for length in (9_000, 17_000, 40_000, 140_000):
        for _ in range(12):
            odd = chance.choice(ODD) * chance.choice([100, 1500, 9000, 20_000])
            pieces = [*cut(chance, 12, length // 6), odd, *chance.choices(ODD, k=500)]
            chance.shuffle(pieces)
            text = "".join(pieces)
            texts = [text, text + "x", text.replace("\n", " "), text[: len(text) // 2] + odd]
            assert differing(backend, texts, fast) == []


@pytest.mark.slow
def test_any_of_many_merge_tables_gives_the_same_ids():
    for seed in range(1000, 3000):
        backend, texts = random_tokenizer(seed)
        assert differing(backend, texts) == [], seed
