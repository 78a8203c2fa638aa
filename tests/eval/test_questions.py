"""What is asked is what training saw, up to the last answer."""

import json

import numpy as np
import pytest

from template_cases import single_tokens
from tiny_tokenizer import load_tiny
from tunesmith.data.prepare import prepare
from tunesmith.data.tokenize import encode_prompt
from tunesmith.errors import DataError
from tunesmith.eval.questions import Questions, Tail, question, tail_of
from tunesmith.templates import choose
from tunesmith.types import Conversation, Example, Message, Origin

TEMPLATES = ("chatml", "llama3", "qwen3", "mistral", "gemma2", "falcon", "yayi", "deepseekr1")
SAID = ["one", "two", "three\n", "<|im_end|>four", "five", "six"]


def rows(count):
    return [
        {"conversations": [
            {"from": ("human", "gpt")[i % 2], "value": f"{word} {row}"}
            for i, word in enumerate(SAID[: 2 + 2 * (row % 3)])
        ]}
        for row in range(count)
    ]  # fmt: skip


def asked(tmp_path, renderer, tokenizer, data, **keys):
    (tmp_path / "a.json").write_text(json.dumps(data))
    info = {"a": {"file_name": "a.json", "formatting": "sharegpt"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    prepared = prepare(
        dataset=["a"], dataset_dir=tmp_path, renderer=renderer, tokenizer=tokenizer,
        **{"cutoff_len": 4096, **keys},
    )  # fmt: skip
    return Questions(prepared.train, tail_of(renderer, tokenizer))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("mask_history", [False, True])
def test_a_prompt_is_the_one_that_serving_sends(tmp_path, name, mask_history):
    tokenizer = load_tiny()
    tokenizer.backend.add_special_tokens(single_tokens(name))
    template = choose(name, tokenizer)
    data = rows(6)
    found = asked(tmp_path, template, tokenizer, data, mask_history=mask_history)
    assert len(found) == len(data)
    for one, row in zip(found, data, strict=True):
        said = [
            Message("user" if turn["from"] == "human" else "assistant", turn["value"])
            for turn in row["conversations"]
        ]
        prompt = encode_prompt(Conversation(tuple(said[:-1])), template, tokenizer)
        assert one.prompt_ids == prompt
        text = tokenizer.backend.decode(one.label_ids, skip_special_tokens=False)
        assert said[-1].content in text
        assert said[-2].content not in text


def test_of_an_example_the_last_learned_part_is_the_answer():
    ids, place = np.arange(8, dtype=np.int32), Origin("d", "f", 1, 1)
    trained = np.array([0, 1, 1, 0, 0, 1, 1, 0], bool)
    assert question(Example(ids, trained, place)) == ([0, 1, 2, 3, 4], [5, 6], place, ())


def test_an_end_that_stands_apart_from_its_answer_is_part_of_it():
    ids, place = np.arange(8, dtype=np.int32), Origin("d", "f", 1, 1)
    tail = Tail(1, (6,))
    apart = np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)
    assert question(Example(ids, apart, place), tail) == ([0, 1, 2], [3, 4, 6], place, ())
    empty = np.array([0, 1, 0, 0, 0, 0, 1, 0], bool)
    assert question(Example(ids, empty, place), tail) == ([0, 1, 2, 3, 4], [6], place, ())
    other = np.array([0, 1, 0, 0, 1, 0, 1, 1], bool)
    assert question(Example(ids, other, place), tail) == ([0, 1, 2, 3, 4, 5], [6, 7], place, ())


def test_the_fingerprint_knows_prompt_answer_and_place(tmp_path):
    tokenizer = load_tiny()
    template = choose("chatml", tokenizer)
    first = asked(tmp_path, template, tokenizer, rows(3)).fingerprint()
    assert asked(tmp_path, template, tokenizer, rows(3)).fingerprint() == first
    other = rows(3)
    other[2]["conversations"][-1]["value"] += "!"
    assert asked(tmp_path, template, tokenizer, other).fingerprint() != first
    assert asked(tmp_path, template, tokenizer, rows(3)[::-1]).fingerprint() != first


def test_a_prompt_that_fills_the_context_is_named(tmp_path):
    tokenizer = load_tiny()
    found = asked(tmp_path, choose("chatml", tokenizer), tokenizer, rows(3))
    lengths = [len(one.prompt_ids) for one in found]
    longest = max(lengths)
    assert found.room(None, 10**9) == 0
    assert found.room(longest + 5, 5) == 0
    assert found.room(longest + 1, 5) == sum(longest + 1 - n < 5 for n in lengths) > 0
    with pytest.raises(DataError) as caught:
        found.room(longest, 5)
    assert caught.value.where == str(found[lengths.index(longest)].origin)
