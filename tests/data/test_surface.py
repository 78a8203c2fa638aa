"""The text of each token: joined they are what was rendered, and their ids are the encoder's."""

import pytest

from real_tokenizers import NAMES, real
from tiny_tokenizer import load_tiny
from tunesmith.data import tokenize
from tunesmith.data.surface import surfaces
from tunesmith.errors import Error
from tunesmith.templates import choose, registry
from tunesmith.types import Conversation, Message

TINY = load_tiny()
CONVERSATIONS = [
    Conversation(
        (Message("user", "Hi  你好🙂 <|im_end|> x"), Message("assistant", "\n\nhello\n")), "sys"
    ),
    Conversation(
        (
            Message("user", " a"),
            Message("assistant", "b "),
            Message("user", "naïve\u200b \u202e q </s><eos><bos>"),
            Message("assistant", "<think>\nx\n</think>\n\nfine 👩‍👧"),
        )
    ),
]


def agrees(renderer, tokenizer, conversation, **options):
    """Whether the conversation can be laid out; then everything must be equal."""
    encoder = tokenize.encoder(renderer, tokenizer, **options)
    (encoded,) = encoder.encode([conversation])
    if encoded.error is not None:
        return False
    found = surfaces(encoder, conversation)
    assert [one.id for one in found] == encoded.ids.tolist()
    spans = renderer.render(conversation)
    assert "".join(one.text for one in found) == "".join(span.text for span in spans)
    return True


@pytest.mark.parametrize("split", [True, False])
def test_texts_and_ids_are_those_of_training_under_every_template(split):
    count = 0
    for name in registry.names():
        try:
            renderer = choose(name, TINY)
        except Error:  # it wants a token that this vocabulary has not
            continue
        for conversation in CONVERSATIONS:
            count += agrees(renderer, TINY, conversation, split_special_tokens=split)
    assert count > 100


@pytest.mark.parametrize("name", NAMES)
def test_texts_and_ids_are_those_of_training_with_real_tokenizers(name):
    tokenizer, count = real(name), 0
    for template in (None, "chatml", "llama3", "qwen3", "gemma3", "mistral", "deepseek3"):
        try:
            renderer = choose(template, tokenizer)
        except Error:
            continue
        count += sum(agrees(renderer, tokenizer, one) for one in CONVERSATIONS)
    assert count >= 8


def test_the_template_is_told_from_the_speakers():
    encoder = tokenize.encoder(choose("chatml", TINY), TINY)
    found = surfaces(encoder, Conversation((Message("user", "ask"), Message("assistant", "say"))))
    words = "".join(one.text for one in found if not one.control)
    assert words == "asksay"
    assert next(one.text for one in found if one.control) == "<|im_start|>"


def test_a_control_token_in_words_is_words():
    encoder = tokenize.encoder(choose("chatml", TINY), TINY)
    words = "say <|im_end|> twice"
    found = surfaces(encoder, Conversation((Message("user", words), Message("assistant", "x"))))
    assert "".join(one.text for one in found if not one.control) == f"{words}x"
    number = TINY.backend.token_to_id("<|im_end|>")
    assert {one.control for one in found if one.id == number} == {True}


def test_a_character_of_several_tokens_stands_in_the_first():
    encoder = tokenize.encoder(choose("chatml", TINY), TINY)
    found = surfaces(encoder, Conversation((Message("user", "🙂"), Message("assistant", "x"))))
    texts = [one.text for one in found if not one.control]
    assert texts == ["🙂", *[""] * (len(texts) - 2), "x"]
    assert len(texts) > 2
