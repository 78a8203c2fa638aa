"""Many at once say what each says alone."""

import pytest
import torch

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith.errors import ModelError
from tunesmith.infer.hf import Engine
from tunesmith.infer.many import generate_many
from tunesmith.infer.sampling import GREEDY, Sampling
from tunesmith.models.load import load_model
from tunesmith.types import Conversation, Message

QUESTIONS = (
    "What?",
    "What is the capital of France, and which one is that of the other country?",
    "Hello there!",
    "def add(a, b): return a + b",
    "I do not know whether that is so; please tell me more about the thing you want.",
)


def _engine(directory, stop_words=()):
    tokenizer = load_tiny()

    def encode(conversation):
        return tokenizer.backend.encode(conversation.messages[-1].content).ids

    model = load_model(directory, dtype=torch.float32)
    return Engine(model, tokenizer, encode=encode, stop_words=stop_words)


def _ask(text):
    return Conversation((Message("user", text),))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gemma3_text", "gpt2"])
def test_each_row_gets_the_answer_that_it_gets_alone(tmp_path, kind):
    engine = _engine(tiny_model(tmp_path, kind))
    sampling = GREEDY._replace(max_new_tokens=24)
    many = generate_many(engine, [_ask(q) for q in QUESTIONS], sampling)
    for question, answer in zip(QUESTIONS, many, strict=True):
        alone = engine.generate(_ask(question), sampling)
        assert answer.ids == alone.ids
        assert answer.prompt_ids == alone.prompt_ids
        assert (answer.text, answer.finish_reason) == (alone.text, alone.finish_reason)


def test_drawn_answers_are_the_same_too(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=3, repetition_penalty=1.2)
    many = generate_many(engine, [_ask(q) for q in QUESTIONS], sampling)
    alone = [engine.generate(_ask(q), sampling).ids for q in QUESTIONS]
    assert [answer.ids for answer in many] == alone


def test_a_row_ends_at_its_own_stop_and_the_others_go_on(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    sampling = GREEDY._replace(max_new_tokens=12)
    plain = engine.generate(_ask(QUESTIONS[0]), sampling)
    engine.stop_ids = frozenset({plain.ids[4]})
    many = generate_many(engine, [_ask(q) for q in QUESTIONS], sampling)
    assert many[0].finish_reason == "stop"
    assert many[0].ids == plain.ids[: plain.ids.index(plain.ids[4]) + 1]
    for question, answer in zip(QUESTIONS, many, strict=True):
        assert answer.ids == engine.generate(_ask(question), sampling).ids


def test_answers_come_in_the_order_of_the_questions_over_several_batches(tmp_path):
    engine = _engine(tiny_model(tmp_path))
    told = []
    asked = [_ask(" ".join(["one"] * (40 - 2 * i))) for i in range(19)]
    many = generate_many(
        engine,
        asked,
        GREEDY._replace(max_new_tokens=3),
        progress=lambda done, of: told.append((done, of)),
    )
    assert [a.prompt_ids for a in many] == [engine.encode(c) for c in asked]
    assert told[-1] == (19, 19)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_one_prompt_without_room_is_refused_before_any_answer(tmp_path):
    engine = _engine(tiny_model(tmp_path, max_position_embeddings=32))
    with pytest.raises(ModelError, match="prompt"):
        generate_many(engine, [_ask("hi"), _ask("long " * 60)], GREEDY)


def test_nobody_asked_is_nobody_answered(tmp_path):
    assert generate_many(_engine(tiny_model(tmp_path)), [], GREEDY) == []


def test_layers_that_carry_state_give_what_they_give_alone(tmp_path):
    directory = tiny_model(
        tmp_path,
        "qwen3_next",
        head_dim=16,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        num_experts=0,
        mlp_only_layers=[0, 1],
    )
    engine = _engine(directory)
    sampling = GREEDY._replace(max_new_tokens=10)
    many = generate_many(engine, [_ask(q) for q in QUESTIONS[:3]], sampling)
    alone = [engine.generate(_ask(q), sampling).ids for q in QUESTIONS[:3]]
    assert [answer.ids for answer in many] == alone


def test_a_model_without_a_cache_gives_what_it_gives_alone(tmp_path):
    engine = _engine(tiny_model(tmp_path, "mamba", state_size=4))
    sampling, told = GREEDY._replace(max_new_tokens=6), []
    asked = [_ask(q) for q in QUESTIONS[:2]]
    many = generate_many(engine, asked, sampling, progress=lambda done, of: told.append(done))
    assert [a.ids for a in many] == [engine.generate(c, sampling).ids for c in asked]
    assert told == [1, 2]
