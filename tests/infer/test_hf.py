"""The engine says what transformers says, streams it, and stops where it must."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tiny_vlm import tiny_vlm
from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.hf import Engine, split_stops
from tunesmith.infer.sampling import GREEDY, Sampling
from tunesmith.models.load import load_model
from tunesmith.types import Conversation, Message

PROMPT = "What is the capital of France?"
ASKED = Conversation((Message("user", PROMPT),))


def _model(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def _engine(directory, tokenizer=None, stop_words=()):
    tokenizer = tokenizer or load_tiny()

    def encode(conversation):
        text = "\n".join(message.content for message in conversation.messages)
        return tokenizer.backend.encode(text).ids

    return Engine(_model(directory), tokenizer, encode=encode, stop_words=stop_words)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_gives_the_ids_of_transformers(tmp_path, kind, penalty):
    engine = _engine(tiny_model(tmp_path, kind))
    sampling = GREEDY._replace(max_new_tokens=40, repetition_penalty=penalty)
    answer = engine.generate(ASKED, sampling)
    prompt = torch.tensor([answer.prompt_ids])
    theirs = engine.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=40,
        repetition_penalty=penalty,
    )[0, prompt.shape[1] :]
    assert answer.ids == theirs.tolist()
    assert len(answer.ids) > 3


def test_the_cache_changes_nothing(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    answer = engine.generate(ASKED, GREEDY._replace(max_new_tokens=12))
    ids = list(answer.prompt_ids)
    for token_id in answer.ids:
        with torch.no_grad():
            assert int(engine.model(torch.tensor([ids])).logits[0, -1].argmax()) == token_id
        ids.append(token_id)


def test_one_seed_gives_one_answer_and_what_is_streamed_is_the_answer(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    sampling = Sampling(temperature=1.5, top_p=1.0, max_new_tokens=30, seed=7)
    pieces = []
    first = engine.generate(ASKED, sampling, pieces.append)
    assert engine.generate(ASKED, sampling).ids == first.ids
    assert engine.generate(ASKED, sampling._replace(seed=8)).ids != first.ids
    assert "".join(pieces) == first.text
    assert first.tokens_per_second > 0


def test_a_model_without_such_a_cache_gives_the_ids_of_transformers(tmp_path):
    engine = _engine(tiny_model(tmp_path, "mamba", state_size=4))
    answer = engine.generate(ASKED, GREEDY._replace(max_new_tokens=8))
    prompt = torch.tensor([answer.prompt_ids])
    theirs = engine.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=8
    )[0, prompt.shape[1] :]
    assert answer.ids == theirs.tolist()


def _says(model, ids):
    """Make the model say these ids, whatever it is asked."""

    class Parrot(torch.nn.Module):
        config, device, training = model.config, model.device, False

        def forward(self, input_ids, past_key_values, **_):
            told = past_key_values or 0
            logits = torch.zeros(1, 1, model.config.vocab_size)
            logits[0, 0, ids[min(told, len(ids) - 1)]] = 9.0
            return type("Out", (), {"logits": logits, "past_key_values": told + 1})()

    return Parrot()


def test_an_answer_ends_at_the_stop_token_which_is_in_the_ids_and_not_in_the_text(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    tokenizer = engine.tokenizer
    said = [*tokenizer.backend.encode("Paris 😀").ids, tokenizer.id_of("<|im_end|>")]
    engine.model = _says(engine.model, [*said, *said])
    pieces = []
    answer = engine.generate(ASKED, GREEDY, pieces.append)
    assert (answer.text, answer.finish_reason) == ("Paris 😀", "stop")
    assert answer.ids == said
    assert "".join(pieces) == "Paris 😀"


def test_an_answer_ends_at_a_stop_word_of_several_tokens(tmp_path):
    engine = _engine(tiny_model(tmp_path), stop_words=("\nUser:",))
    said = engine.tokenizer.backend.encode("Paris\nUser: and").ids
    engine.model = _says(engine.model, said)
    answer = engine.generate(ASKED, GREEDY)
    assert (answer.text, answer.finish_reason) == ("Paris", "stop")


def test_what_was_held_back_for_a_stop_word_is_shown_when_another_end_comes(tmp_path):
    engine = _engine(tiny_model(tmp_path), stop_words=("\nUser:",))
    tokenizer = engine.tokenizer
    said = [*tokenizer.backend.encode("Paris\nUse").ids, tokenizer.id_of("<|im_end|>")]
    engine.model = _says(engine.model, said)
    assert engine.generate(ASKED, GREEDY).text == "Paris\nUse"
    answer = engine.generate(ASKED, GREEDY._replace(max_new_tokens=len(said) - 1))
    assert (answer.text, answer.finish_reason) == ("Paris\nUse", "length")


def test_the_context_ends_an_answer_and_a_prompt_that_fills_it_is_refused(tmp_path):
    engine = _engine(tiny_model(tmp_path, max_position_embeddings=24))
    engine.stop_ids = frozenset()
    answer = engine.complete([5] * 20, GREEDY)
    assert (len(answer.ids), answer.finish_reason) == (4, "length")
    with pytest.raises(ModelError) as caught:
        engine.complete([5] * 24, GREEDY)
    assert "24 tokens" in str(caught.value)
    with pytest.raises(ModelError):
        engine.complete([], GREEDY)


def test_a_model_in_training_answers_the_same_and_stays_in_training(tmp_path):
    directory = tiny_model(tmp_path, "gpt2", attn_pdrop=0.5, resid_pdrop=0.5)
    engine = _engine(directory)
    calm = engine.generate(ASKED, GREEDY._replace(max_new_tokens=10)).ids
    engine.model.train()
    assert engine.generate(ASKED, GREEDY._replace(max_new_tokens=10)).ids == calm
    assert engine.model.training
    assert all(module.training for module in engine.model.modules())


def test_stops_are_eos_the_models_further_stops_and_the_templates(tmp_path):
    tokenizer = load_tiny()._replace(stops=("<|endoftext|>",))
    ids, texts = split_stops(tokenizer, ("</think>", "\nUser:"))
    names = {tokenizer.backend.id_to_token(i) for i in ids}
    assert names == {"<|im_end|>", "<|endoftext|>", "</think>"}
    assert texts == ("\nUser:",)
    with pytest.raises(ConfigError):
        split_stops(tokenizer._replace(eos=None, stops=()), ())


def test_the_answer_travels_as_json(tmp_path):
    answer = _engine(tiny_model(tmp_path)).generate(ASKED, GREEDY._replace(max_new_tokens=3))
    assert json.loads(json.dumps(answer._asdict()))["ids"] == answer.ids


def test_the_context_of_a_model_that_sees_is_that_of_its_text_model(tmp_path):
    model = load_model(tiny_vlm(tmp_path), dtype=torch.float32)
    engine = Engine(model, load_tiny(), encode=lambda conversation: [])
    assert engine.room(4000, 500) == 96
    with pytest.raises(ModelError, match="context of 4096"):
        engine.room(4096, 1)
