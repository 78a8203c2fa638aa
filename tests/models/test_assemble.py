"""A model that sees, out of parts: on text it is the language model, or nothing is written."""

import json

import pytest
import torch
from tokenizers import AddedToken

from tiny_assembled import made
from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tiny_tower import tiny_tower
from tiny_vlm import tiny_vlm
from tunesmith.errors import ModelError
from tunesmith.models import tokenizer
from tunesmith.models.assemble import Making, image_token, join, refuse
from tunesmith.models.tower import open_tower

SAME = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma3_text", "phi3")


@pytest.mark.parametrize("kind", SAME)
def test_on_text_it_is_the_language_model(tmp_path, kind):
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    llm = tiny_model(tmp_path, kind, tied=kind != "qwen2")
    found = made(tmp_path, llm, tiny_tower(tmp_path))
    assert found.difference <= 1e-5
    assert {path.stat().st_mode & 0o777 for path in found.directory.iterdir()} == {0o644}
    both = (AutoModelForImageTextToText, AutoModelForCausalLM)
    sees, reads = (
        kind.from_pretrained(path, dtype=torch.float32)
        for kind, path in zip(both, (found.directory, llm), strict=True)
    )
    ids = torch.arange(5, 40)[None]
    ours, theirs = sees(input_ids=ids).logits, reads(input_ids=ids).logits
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, atol=1e-5, rtol=1e-5)
    assert sum(found.parameters.values()) == sum(p.numel() for p in sees.parameters())


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        ("gemma2", {}, "final_logit_softcapping"),
        ("granite", {"logits_scaling": 4.0}, "logits_scaling 4.0"),
        ("cohere", {"logit_scale": 0.25}, "logit_scale 0.25"),
        ("phi", {}, "a head with a bias"),
    ],
)
def test_logits_that_llava_would_change_are_refused_with_the_reason(tmp_path, kind, keys, said):
    llm = tiny_model(tmp_path, kind, tied=kind not in ("phi",), **keys)
    with pytest.raises(ModelError) as caught:
        made(tmp_path, llm, tiny_tower(tmp_path))
    assert said in str(caught.value)


def test_a_model_that_sees_already_is_refused(tmp_path):
    with pytest.raises(ModelError, match="a language model to assemble"):
        refuse(tiny_vlm(tmp_path))


@pytest.mark.parametrize(
    ("token", "special", "wanted", "how"),
    [
        (None, None, "<image>", "a spare row"),
        ("<image>", True, "<image>", "the tokenizer has it"),
        ("<|vision_pad|>", True, "<|vision_pad|>", "keeps for later"),
        ("<|reserved_special_token_7|>", True, "<|reserved_special_token_7|>", "keeps for later"),
        ("<|vision_pad|>", False, "<image>", "a spare row"),
    ],
)
def test_rows_that_are_there_come_before_new_ones(token, special, wanted, how):
    words = load_tiny()
    if token:
        words.backend.add_special_tokens([AddedToken(token, special=True)]) if special else (
            words.backend.add_tokens([AddedToken(token, special=False)])
        )
    rows = words.backend.get_vocab_size() + 3
    found = image_token(words, rows)
    assert found.token == wanted
    assert how in found.how
    assert found.silent == (found.tokenizer.id_of(wanted),)
    assert found.silent[0] < found.rows == rows


def test_an_embedding_without_room_grows_to_a_round_number(tmp_path):
    words = tokenizer.load(tiny_model(tmp_path))
    rows = words.backend.get_vocab_size()
    llm = tiny_model(tmp_path, vocab=rows, name="full")
    found = made(tmp_path, llm, tiny_tower(tmp_path))
    config = json.loads((found.directory / "config.json").read_text())
    assert found.how == "a new row of the embedding"
    assert found.image_token_id == rows
    assert config["text_config"]["vocab_size"] % 64 == 0
    said = json.loads((found.directory / "generation_config.json").read_text())
    assert rows in said["suppress_tokens"]


def test_a_word_of_the_vocabulary_is_not_taken_for_pictures(tmp_path):
    words = load_tiny()
    words.backend.add_tokens([AddedToken("<image>", special=False)])
    with pytest.raises(ModelError, match="a token of its words"):
        image_token(words, 999)


def test_a_tower_that_llava_would_not_see_with_is_refused(tmp_path):
    """What is not in weights and config, here a hook, is lost when the model is written."""
    llm, tower = tiny_model(tmp_path), open_tower(tiny_tower(tmp_path), layer=-2)
    further = torch.linspace(0, 1, 32)
    tower.model.embeddings.register_forward_hook(lambda module, given, made: made + further)
    words = image_token(tokenizer.load(llm), 999)
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match="a tower that sees otherwise inside LLaVA"):
        join(llm, tower, words, Making(), template="", out=tmp_path / "out")


@pytest.mark.parametrize("projector", ["identity", "resampler"])
def test_parts_that_do_not_fit_are_refused_before_the_language_model_is_read(tmp_path, projector):
    llm = tiny_model(tmp_path)
    (llm / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=f"got   {projector}, "):
        made(tmp_path, llm, tiny_tower(tmp_path), projector=projector)
