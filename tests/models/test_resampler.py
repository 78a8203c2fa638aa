"""A resampler between a SigLIP and any language model, as Idefics 2."""

import json

import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoProcessor

from tiny_assembled import made
from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tiny_tower import tiny_tower
from tunesmith.errors import ModelError
from tunesmith.models import tokenizer
from tunesmith.models.assemble import image_marks
from tunesmith.models.resampler import MARKS
from tunesmith.models.tower import open_tower

QUERIES = 5


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """A tower, a language model, and what is made of both."""
    folder = tmp_path_factory.mktemp("resampler")
    llm, tower = tiny_model(folder), tiny_tower(folder, "siglip")
    return llm, tower, made(folder, llm, tower, layer=-1, projector="resampler", queries=QUERIES)


def test_stock_transformers_opens_it_and_on_text_it_is_the_language_model(joined):
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        Idefics2ForConditionalGeneration,
    )

    llm, _, found = joined
    assert found.difference <= 1e-5
    sees = AutoModelForImageTextToText.from_pretrained(found.directory, dtype=torch.float32)
    assert type(sees) is Idefics2ForConditionalGeneration
    reads = AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32)
    ids = torch.arange(5, 40)[None]
    ours, theirs = sees(input_ids=ids).logits, reads(input_ids=ids).logits
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, atol=1e-5, rtol=1e-5)
    assert sum(found.parameters.values()) == sum(p.numel() for p in sees.parameters())


@pytest.mark.parametrize("shape", [(40, 30), (17, 90)])
def test_a_picture_is_what_the_tower_alone_sees_and_has_as_many_tokens(joined, shape):
    from PIL import Image
    from transformers import (
        AutoImageProcessor,
        AutoModelForImageTextToText,
        SiglipVisionModel,
    )

    _, tower, found = joined
    picture = Image.effect_noise(shape, 90).convert("RGB")
    processor = AutoProcessor.from_pretrained(found.directory)
    given = processor(text="<image>\nx", images=picture, return_tensors="pt")
    assert int((given["input_ids"] == found.image_token_id).sum()) == QUERIES == found.patches
    pixels = AutoImageProcessor.from_pretrained(tower)(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(given["pixel_values"][0], pixels, atol=0, rtol=0)
    model = AutoModelForImageTextToText.from_pretrained(found.directory)
    states = SiglipVisionModel.from_pretrained(tower)(pixels).last_hidden_state
    seen = torch.ones(states.shape[:2], dtype=torch.bool)
    wanted = model.model.connector(states, attention_mask=seen)
    features = model.get_image_features(given["pixel_values"], given["pixel_attention_mask"])
    torch.testing.assert_close(features.pooler_output[0], wanted[0], atol=1e-5, rtol=1e-5)


def test_its_tokens_begin_unlike_each_other_and_as_loud_as_words(joined):
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(joined[2].directory)
    pixels = open_tower(joined[1], layer=-1).pictures()
    features = torch.stack(tuple(model.get_image_features(pixels[:1, None]).pooler_output))
    words = model.get_input_embeddings().weight
    torch.testing.assert_close(
        features.square().mean().sqrt(), words.square().mean().sqrt(), rtol=0.01, atol=0
    )
    near = torch.nn.functional.cosine_similarity(features[0, :1], features[0, 1:])
    assert near.abs().max() < 0.9


@pytest.mark.parametrize("kind", ["idefics3_vision", "smolvlm_whole"])
def test_towers_that_are_siglip_by_another_name_fit(tmp_path, kind, joined):
    tower = tiny_tower(tmp_path, kind)
    images = open_tower(joined[1], layer=-1).images
    images.save_pretrained(tower)
    found = made(tmp_path, joined[0], tower, layer=-1, projector="resampler", queries=QUERIES)
    assert (found.difference, found.strategy) == (0.0, "resampler")


@pytest.mark.parametrize("kind", ["clip", "dinov2", "vit", "aimv2_vision_model", "ijepa"])
def test_other_towers_are_refused(tmp_path, joined, kind):
    tower = tiny_tower(tmp_path, kind)
    with pytest.raises(ModelError, match="resampler, beside") as caught:
        made(tmp_path, joined[0], tower, layer=-1, projector="resampler")
    assert "a SigLIP as vision tower" in caught.value.need
    assert caught.value.hint == "mlp2x_gelu"


def test_pictures_that_are_cut_are_refused(tmp_path, joined):
    tower = tiny_tower(tmp_path, "idefics3_vision")
    with pytest.raises(ModelError, match="an image processor that cuts pictures"):
        made(tmp_path, joined[0], tower, layer=-1, projector="resampler")


def test_logits_that_the_class_would_change_are_refused_with_the_reason(tmp_path, joined):
    llm = tiny_model(tmp_path, "granite", logits_scaling=4.0)
    with pytest.raises(ModelError, match="inside Idefics 2") as caught:
        made(tmp_path, llm, joined[1], layer=-1, projector="resampler")
    assert "logits_scaling 4.0" in str(caught.value)


def test_a_language_model_without_what_the_class_asks_for_is_refused(tmp_path, joined):
    with pytest.raises(ModelError, match="resampler, beside gemma3_text without hidden_act"):
        made(tmp_path, tiny_model(tmp_path, "gemma3_text"), joined[1], projector="resampler")


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral", "phi3", "gemma"])
def test_other_language_models_are_as_they_were(tmp_path, joined, kind):
    llm = tiny_model(tmp_path, kind, tied=kind != "qwen2")
    found = made(tmp_path, llm, joined[1], layer=-1, projector="resampler", queries=QUERIES)
    assert found.difference <= 1e-5


def test_rows_are_made_for_what_its_processor_writes(tmp_path, joined):
    words = tokenizer.load(joined[0])
    llm = tiny_model(tmp_path, vocab=words.backend.get_vocab_size(), name="full")
    found = made(tmp_path, llm, joined[1], layer=-1, projector="resampler", queries=QUERIES)
    said = json.loads((found.directory / "config.json").read_text())
    assert found.how == f"new rows of the embedding for {', '.join(MARKS)}"
    assert said["text_config"]["vocab_size"] % 64 == 0
    ids = [tokenizer.load(found.directory).id_of(mark) for mark in MARKS]
    assert len({*ids}) == 3
    assert found.image_token_id == ids[1]
    drawn = json.loads((found.directory / "generation_config.json").read_text())
    assert drawn["suppress_tokens"] == sorted(ids)
    assert len(AutoProcessor.from_pretrained(found.directory).tokenizer) == 1 + max(ids)


def test_a_word_of_the_vocabulary_is_not_taken_for_a_mark():
    words = load_tiny()
    words.backend.add_tokens([AddedToken(MARKS[2], special=False)])
    with pytest.raises(ModelError, match="a token of its words"):
        image_marks(words, 999)
