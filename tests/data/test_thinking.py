"""Thoughts of rows stand in the template's marks; those left out, half or misplaced are counted."""

import numpy as np
import pytest

from real_tokenizers import real
from tiny_tokenizer import load_tiny
from tunesmith.data import thinking
from tunesmith.data.examples import Said
from tunesmith.data.tokenize import encode
from tunesmith.templates import Asked, choose
from tunesmith.types import Conversation, Message, Origin

TINY = load_tiny()
WHOLE = "<think>\nhm\n</think>\n\nyes"
OURS = "[think]\nhm[done]\nyes"


def rows(*answers):
    return [
        Said(
            Conversation((Message("user", "q"), Message("assistant", answer))),
            Origin("a", "a.json", number, number),
            False,
        )
        for number, answer in enumerate(answers, 1)
    ]


def read(renderer, *answers):
    """The answers after reading, and the notes."""
    thoughts = thinking.Thoughts(renderer)
    said = list(thoughts.in_marks(rows(*answers)))
    return [one.conversation.messages[1].content for one in said], list(thoughts.notes())


@pytest.fixture
def mine(tmp_path):
    """A template with marks of its own."""
    (tmp_path / "mine.yaml").write_text(
        'like: chatml\nname: mine\nthinking: {open: "[think]\\n", close: "[done]\\n"}\n'
    )
    return choose(str(tmp_path / "mine.yaml"), TINY)


@pytest.mark.parametrize("words", [WHOLE, "<think>hm</think>yes", "\n<think>\nhm\n</think>\nyes"])
def test_a_thought_that_begins_an_answer_gets_the_templates_marks(mine, words):
    answers, notes = read(mine, words, "no", OURS)
    assert answers == [OURS, "no", OURS]
    (note,) = notes
    assert note.startswith("1 row with thoughts between <think> and </think>")
    assert "[think] and [done], as template mine marks them" in note


def test_a_template_that_marks_thoughts_so_leaves_rows_as_they_are():
    words = ("<think>hm</think>yes", WHOLE)
    for name in ("qwen3", "chatml"):
        assert read(choose(name, TINY), *words) == (list(words), [])


def test_an_own_jinja_gets_rows_as_they_are():
    jinja = choose("qwen3", TINY).jinja()
    own = choose(None, TINY._replace(chat_template=jinja))
    assert read(own, WHOLE) == ([WHOLE], [])
    assert "half a thought" in read(own, "<think> never closed")[1][0]


def test_thoughts_that_an_own_jinja_leaves_out_are_counted():
    own = choose(None, real("qwen3"), Asked(enable_thinking=False))
    answers, notes = read(own, WHOLE, "no", "<think>half")
    assert notes[0] == "thinking is off: the thoughts of 1 row are left out and not learned"
    learned = encode([one.conversation for one in rows(*answers[:2])], own, real("qwen3"))
    for found, words in zip(learned, ("yes", "no"), strict=True):
        said = real("qwen3").backend.decode(found.ids[found.trained].tolist())
        assert said.startswith(words)


def test_thoughts_inside_an_answer_are_words_and_counted(mine):
    words = "first " + WHOLE
    answers, notes = read(mine, words, "no")
    assert answers == [words, "no"]
    assert "inside an answer, where template mine marks no thought (first: a.json:1" in notes[0]


@pytest.mark.parametrize("name", ["qwen3", "chatml", "gpt_oss"])
@pytest.mark.parametrize(
    "words", ["<think>never closed", "never opened</think>", "</think><think>"]
)
def test_half_a_thought_is_counted_with_its_first_place(name, words):
    answers, notes = read(choose(name, TINY), "no", words, WHOLE)
    assert answers[1] == words
    found = [note for note in notes if "half a thought" in note]
    assert [note.partition(":")[0] for note in found] == [
        "1 row with half a thought, its begin or its end alone (first"
    ]
    assert "a.json:2" in found[0]


@pytest.mark.parametrize(("asked", "count"), [(True, 0), (None, 0), (False, 2)])
def test_thoughts_that_the_run_leaves_out_are_counted(asked, count):
    renderer = choose("qwen3", TINY, Asked(enable_thinking=asked))
    notes = read(renderer, WHOLE, "<think>hm</think>yes", "no")[1]
    told = [note for note in notes if "left out" in note]
    assert told == ["thinking is off: the thoughts of 2 rows are left out and not learned"] * (
        count > 0
    )


def test_under_gpt_oss_a_thought_stands_in_the_tokens_of_its_channel():
    tokenizer = real("gptoss")
    renderer = choose("gpt_oss", tokenizer)
    said = list(thinking.Thoughts(renderer).in_marks(rows(WHOLE)))
    (found,) = encode([said[0].conversation], renderer, tokenizer)
    learned = found.ids[np.flatnonzero(found.trained)].tolist()
    assert [tokenizer.backend.id_to_token(i) for i in learned] == [
        *("<|channel|>", "analysis", "<|message|>", "hm", "<|end|>", "<|start|>", "assistant"),
        *("<|channel|>", "final", "<|message|>", "yes", "<|return|>"),
    ]
    assert found.notes == ()
