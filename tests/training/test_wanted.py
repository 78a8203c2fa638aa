"""What templates ask of a tokenizer."""

import json

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.templates import choose, names
from tunesmith.training.wanted import wanted

OWN = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
OWN += "{{ m.content }}<|im_end|>\n{% endfor %}"
OWN += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def asked(name, tokenizer=None):
    tokenizer = tokenizer or load_tiny()
    return wanted(choose(name, tokenizer), tokenizer)


def test_chatml_ends_what_is_learned_with_its_own_token():
    found = asked("chatml")
    assert found.ends == ("<|im_end|>",)
    assert set(found.marks) == {"<|im_start|>", "<|im_end|>"}
    assert not found.needs_bos


def test_of_two_stop_words_only_the_one_that_is_written_must_be_a_token():
    found = asked("llama3")
    assert found.needs_bos
    assert found.ends == ("<|eot_id|>",)
    assert "<|eom_id|>" in found.stop_words


def test_the_models_own_template_is_not_held_to_tokens():
    found = asked(None, load_tiny(OWN, bos="<|im_start|>"))
    assert found.ends == ()
    assert found.needs_bos
    assert "<|im_end|>" in found.stop_words


@pytest.mark.parametrize(
    ("stop", "word"), [("<|nope|>\n", "<|nope|>"), ("\n\n", "\n\n"), ("<|im_end|>\n", "<|im_end|>")]
)
def test_the_end_of_an_answer_is_a_stop_word_named_or_not(tmp_path, stop, word):
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({"roles": {"user": {}, "assistant": {"stop": stop}}}))
    found = asked(str(file))
    assert found.ends == (word,)
    assert word in found.stop_words
    assert not found.endless


def test_an_answer_without_an_end_is_seen(tmp_path):
    file = tmp_path / "mine.yaml"
    roles = {"user": {}, "assistant": {"open": "A"}}
    file.write_text(json.dumps({"roles": roles}))
    assert asked(str(file)).endless
    assert not asked(str(file)).open_ended
    file.write_text(json.dumps({"roles": roles, "efficient_eos": True}))
    assert not asked(str(file)).endless
    calling = {**roles, "assistant": {"stop": "<|im_end|>"}, "function": {"open": "F"}}
    file.write_text(json.dumps({"roles": calling}))
    assert asked(str(file)).endless
    assert asked("empty").open_ended


@pytest.mark.parametrize("name", names())
def test_every_template_can_be_asked(name):
    tokenizer = load_tiny()
    try:
        renderer = choose(name, tokenizer)
    except Exception as error:  # a single-token piece that the tiny vocabulary lacks
        pytest.skip(str(error))
    found = wanted(renderer, tokenizer)
    assert found.name == name
    assert set(found.ends) <= set(found.stop_words)
    assert found.endless == found.open_ended
