"""Conversations of one shape differ in nothing but their words, under every template."""

import random

import pytest

from template_cases import bound, turns
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import OwnJinja, names
from tunesmith.templates.shape import Remembered, Shape
from tunesmith.types import Call, Conversation, Message

TEXTS = ["hi", "", " a\n", "{{idx}}", "<think>", "thought\n</think>\n\nb", "\n"]


def conversations(seed):
    chance = random.Random(seed)
    for _ in range(150):
        said = turns(*chance.choices(TEXTS, k=chance.choice([2, 4, 6])))
        said = tuple(
            m._replace(trained=chance.choice([None, True, False])) if m.role == "assistant" else m
            for m in said
        )
        yield Conversation(said, chance.choice([None, None, "", "S", " s "]))


@pytest.mark.parametrize("name", names())
def test_equal_keys_give_equal_spans_but_for_the_words(name):
    template = bound(name)
    known = {}
    for row in conversations(name):
        shape = template.shape(row)
        if shape is None:
            continue
        try:
            spans = template.render(row)
        except TemplateError:
            continue
        assert [span.text for span in spans if not span.control] == shape.words
        frame = [(span.control and span.text, *span[1:]) for span in spans]
        assert known.setdefault(shape.key, frame) == frame
    assert known


def test_where_the_words_decide_there_is_no_shape():
    asked, told = turns("q", "a")
    called = Message("function", "", calls=(Call("f", "{}"),))
    thought = Message("assistant", "<think>\nx\n</think>\n\na")
    qwen = bound("qwen3")
    assert qwen.shape(Conversation((asked, told))) is not None
    assert qwen.shape(Conversation((asked, thought))) is None
    assert qwen.shape(Conversation((asked, called))) is None
    assert qwen.shape(Conversation((asked, told), tools="[]")) is None
    assert bound("qwen").shape(Conversation((asked, thought))) is not None


def test_a_template_from_elsewhere_has_the_shape_that_a_conversation_has_shown():
    own = OwnJinja(bound("qwen3").jinja(), load_tiny())
    asked, other = (Conversation(turns(q, "a", "r", "b")) for q in "pq")
    assert own.shape(asked) is None
    own.render(asked)
    key, words = own.shape(asked)
    assert (own.shape(other).key, words) == (key, ["p", "a", "r", "b"])
    masked = (*turns("p", "a", "r", "b")[:3], turns("", "b")[1]._replace(trained=False))
    thinking = Conversation(turns("p", "<think>\nx\n</think>\n\na", "r", "b"))
    own.render(thinking)
    others = [Conversation(masked), Conversation(turns("p", "a", "", "b")), thinking]
    assert all(own.shape(other) is None or own.shape(other).key != key for other in others)
    called = Conversation((asked.messages[0], Message("function", "", calls=(Call("f", "{}"),))))
    assert own.shape(called) is None
    assert own.shape(asked._replace(tools="[]")) is None


def test_what_is_known_of_a_shape_is_not_asked_again():
    remembered, asked = Remembered(), []

    def work():
        asked.append(1)
        return [True, False]

    for shape in (Shape("a", ["x"]), Shape("a", ["y"]), Shape("b", []), None, None):
        assert remembered.of(shape, work) == (True, False)
    assert len(asked) == 4


@pytest.mark.parametrize("name", ["qwen3", "deepseek3", "gpt_oss", "glm4_moe"])
def test_answers_of_one_shape_read_as_given_alike(name):
    template = bound(name)
    for row in conversations(name):
        fresh = bound(name).reads_as_given(row)
        assert template.reads_as_given(row) == fresh
