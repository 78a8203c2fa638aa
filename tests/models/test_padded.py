"""Two sentences as a padded batch."""

import json

import pytest

from tiny_tokenizer import load_tiny, tiny_tokenizer
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.padded import SENTENCES, padded


def test_the_shorter_sentence_is_filled_and_masked():
    tiny = load_tiny()
    batch = padded(tiny)
    lengths = [len(tiny.backend.encode(text).ids) for text in SENTENCES]
    assert lengths[0] != lengths[1]
    assert {len(row) for row in (*batch.ids, *batch.tokens, *batch.mask)} == {max(lengths)}
    for text, length, ids, tokens, mask in zip(
        SENTENCES, lengths, batch.ids, batch.tokens, batch.mask, strict=True
    ):
        assert list(ids[:length]) == tiny.backend.encode(text).ids
        assert set(tokens[length:]) <= {"<|endoftext|>"}
        assert mask == (1,) * length + (0,) * (max(lengths) - length)


def test_it_is_the_batch_that_transformers_makes(tmp_path):
    tiny_tokenizer(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for side in ("left", "right"):
        text = json.dumps(config | {"padding_side": side})
        (tmp_path / "tokenizer_config.json").write_text(text)
        tokenizer = tokenizers.load(tmp_path)
        theirs = tokenizers.to_hf(tokenizer)(list(SENTENCES), padding=True)
        batch = padded(tokenizer)
        assert [list(row) for row in batch.ids] == theirs["input_ids"]
        assert [list(row) for row in batch.mask] == theirs["attention_mask"]


@pytest.mark.parametrize(
    ("pad", "eos", "unk", "used"),
    [
        (None, "<|im_end|>", "<think>", "<think>"),
        (None, None, "<think>", "<think>"),
        ("<gone>", "<|im_end|>", "<gone>", "<|im_end|>"),
    ],
)
def test_unk_or_eos_fill_where_there_is_no_pad(pad, eos, unk, used):
    assert padded(load_tiny()._replace(pad=pad, eos=eos, unk=unk)).pad == used


def test_nothing_is_shown_where_nothing_can_fill():
    assert padded(load_tiny()._replace(pad=None, eos=None)) is None


def test_ids_tokens_and_mask_stand_under_one_another():
    lines = padded(load_tiny()).lines()
    assert len(lines) == 1 + 4 * len(SENTENCES)
    assert len({len(line) for line in lines[2:5]}) == 1
