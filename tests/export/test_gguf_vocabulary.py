"""Keys of a GGUF tokenizer give the ids of the tokenizer, or are refused."""

import json

import pytest
import tokenizers
from tokenizers import AddedToken, Regex, models, pre_tokenizers

from real_tokenizers import real
from tiny_tokenizer import load_tiny
from tunesmith.errors import ModelError
from tunesmith.export.gguf_vocabulary import cut_at_marks, vocabulary
from tunesmith.models import gguf_tokenizer
from tunesmith.models import tokenizer as checks

PRE = {
    "smollm2": "smollm",
    "neutral": "smollm",
    "qwen3": "qwen2",
    "deepseek_v3": "deepseek-v3",
    "llama3_1": "llama-bpe",
    "mistral_tekken": "tekken",
    "gptoss": "gpt-4o",
    "mistral_v1": "default",
    "mistral_v3": "default",
    "gemma3": "default",
}


def _keys(tokenizer, **more):
    rows = tokenizer.backend.get_vocab_size() + 3
    return vocabulary(tokenizer, **({"rows": rows, "chat_template": None} | more))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRE)
def test_published_tokenizers_are_written_and_read_back_with_the_same_ids(name):
    tokenizer = real(name)
    keys = _keys(tokenizer).keys
    assert keys["tokenizer.ggml.pre"] == PRE[name]
    made = gguf_tokenizer.build("m.gguf", keys)
    texts = [*checks.PROBE, json.dumps(sorted(PRE)), "<|im_end|>x</s>y<end_of_turn>"]
    assert checks.compare(tokenizer.backend, made, texts) == []


def test_rows_without_a_token_are_filled_and_tokens_without_a_row_refused():
    tiny = load_tiny()
    keys = _keys(tiny, rows=520).keys
    assert len(keys["tokenizer.ggml.tokens"]) == 520
    assert keys["tokenizer.ggml.token_type"][-1] == 5
    few = tiny.backend.get_vocab_size() - 1
    with pytest.raises(ModelError, match="tokenizer") as caught:
        _keys(tiny, rows=few)
    assert f"below {few}" in caught.value.need


def test_control_tokens_and_plain_added_ones_keep_their_kind():
    keys = _keys(load_tiny()).keys
    kinds = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"], strict=True))
    assert (kinds["<|im_end|>"], kinds["<think>"], kinds["a"]) == (3, 4, 1)


def test_the_first_three_stops_are_named_and_a_fourth_is_told():
    tiny = load_tiny()
    stops = ["<|im_end|>", "<|endoftext|>", "</think>", "<think>"]
    made = _keys(tiny, stops=stops)
    ids = [made.keys[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "eom")]
    assert ids == [tiny.id_of(stop) for stop in stops[:3]]
    assert any("<think>" in note for note in made.notes)
    assert _keys(tiny, stops=stops[:3]).notes == ()


@pytest.mark.parametrize("name", sorted(gguf_tokenizer.PRE_TOKENIZERS))
def test_where_llama_cpp_cuts_words_at_combining_marks_a_note_says_so(name):
    tiny = load_tiny()
    backend = tokenizers.Tokenizer.from_str(tiny.backend.to_str())
    gguf_tokenizer.cut_as(backend, gguf_tokenizer.PRE_TOKENIZERS[name])
    cut = name in ("tekken", "gpt-4o")  # measured: docs/log.md
    made = tiny._replace(backend=backend)
    assert cut_at_marks(made) is cut
    assert any("combining marks" in note for note in _keys(made).notes) is cut


def test_a_cut_that_no_name_stands_for_is_refused():
    tiny = load_tiny()
    backend = tokenizers.Tokenizer.from_str(tiny.backend.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"..?"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    with pytest.raises(ModelError, match="pre_tokenizer") as caught:
        _keys(tiny._replace(backend=backend))
    assert "gpt-2" in caught.value.need


def test_a_token_that_takes_the_space_beside_it_gives_other_ids_and_is_refused():
    tiny = load_tiny()
    backend = tokenizers.Tokenizer.from_str(tiny.backend.to_str())
    backend.add_tokens([AddedToken("<|eager|>", special=True, rstrip=True, lstrip=True)])
    with pytest.raises(ModelError, match="becomes"):
        _keys(tiny._replace(backend=backend))


def test_other_kinds_of_tokenizer_are_refused():
    tiny = load_tiny()
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    with pytest.raises(ModelError, match="model"):
        _keys(tiny._replace(backend=backend))
