"""Answers read while they come are read as they are read whole."""

import random

import pytest

from serving import TOKENIZER, TOOLS, found
from tunesmith.infer.request import Delta, Token
from tunesmith.serve.reading import Reading, Style
from tunesmith.templates.calls import dumps
from tunesmith.types import Call

BACKEND = TOKENIZER.backend
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def heard(style, text, finish="stop", stops=()):
    """(thought, words, calls, every piece) of a text that comes token by token."""
    reading = Reading(style, BACKEND, stop_ids=(), stop_texts=stops)
    parts = []
    for i in BACKEND.encode(text, add_special_tokens=False).ids:
        parts += reading.take(Delta(BACKEND.decode([i]), (Token(i),)))
    parts += reading.take(Delta("", (), finish))
    said = {k: "".join(p.text for p in parts if p.kind == k) for k in ("thought", "words")}
    return said["thought"], said["words"], reading.calls, parts


def with_tools(template="qwen"):
    return found(template).style(dumps(TOOLS))


def test_a_call_is_read_and_the_words_before_it_come_at_once():
    thought, words, calls, parts = heard(with_tools(), f"Let me look.\n{CALL}")
    assert (thought, words) == ("", "Let me look.")
    assert calls == (Call("weather", '{"city": "Paris"}'),)
    assert len(parts) > 2, "words came while the answer went on"


def test_parallel_calls_are_read_in_order():
    other = CALL.replace("weather", "time").replace("Paris", "Rome")
    _, words, calls, _ = heard(with_tools(), f"{CALL}\n{other}")
    assert words == ""
    assert [(c.name, c.arguments) for c in calls] == [
        ("weather", '{"city": "Paris"}'),
        ("time", '{"city": "Rome"}'),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "I < you, and <tool_cal is no call.",
        "<tool_call>\nnothing that is one",
        "a <tool_call> in the middle, cut: " + CALL[:40],
        "It ends with <tool_c",
    ],
)
def test_what_is_no_call_stays_words(text):
    assert heard(with_tools(), text, "length")[:3] == ("", text, ())


def test_nothing_of_a_call_is_ever_shown():
    *_, parts = heard(with_tools(), f"So: {CALL}")
    assert "".join(p.text for p in parts) == "So:"


def test_a_thought_is_told_apart_wherever_it_begins():
    style = found("qwen3").style(None)
    said = "first\nthis, then <b>that</b>"
    whole = heard(style, f"<think>\n{said}\n</think>\n\nThe answer.")
    assert whole[:2] == (said, "The answer.")
    begun = heard(style._replace(thinking=True), f"{said}\n</think>\n\nThe answer.")
    assert begun[:2] == (said, "The answer.")
    assert heard(style, "<think is no mark")[:2] == ("", "<think is no mark")
    assert heard(style, "<think>\ncut", "length")[:2] == ("cut", "")
    assert heard(style, "<think>\n\n</think>\n\nat once")[:2] == ("", "at once")


def test_a_thought_a_word_and_a_call():
    style = with_tools("qwen3")
    thought, words, calls, _ = heard(style, f"<think>\nhm {CALL}\n</think>\n\nWell.\n{CALL}")
    assert (thought, words) == (f"hm {CALL}", "Well.")
    assert [c.name for c in calls] == ["weather"]


def test_a_stop_text_ends_words_and_is_not_shown():
    assert heard(with_tools(), "one two END three", stops=("END",))[1] == "one two "


def test_plain_answers_are_the_engines_own_text():
    assert heard(Style(), "<think>no marks here</think>")[1] == "<think>no marks here</think>"


def test_what_the_template_puts_before_words_is_no_part_of_them():
    style = found("qwen3").style(None)._replace(leads=("<think>final ", "</think>"))
    assert heard(style, "<think>final Yes.")[:2] == ("", "Yes.")
    assert heard(style, "</think>Yes.")[:2] == ("", "Yes.")
    assert heard(style, "<think>fin</think>al")[:2] == ("fin", "al")
    assert heard(style, "</thi", "length")[:2] == ("", "</thi")
    assert heard(Style(leads=("\n",)), "\n\nYes.")[:2] == ("", "\nYes.")


def test_a_syntax_without_a_mark_is_read_at_the_end():
    _, words, calls, parts = heard(with_tools("glm4"), 'weather\n{"city": "Paris"}')
    assert (words, [c.name for c in calls]) == ("", ["weather"])
    assert heard(with_tools("glm4"), "just words, no call")[1] == "just words, no call"
    assert not parts


def test_pieces_of_any_length_say_the_same():
    draw = random.Random(4)
    text = f"<think>\na\n\nb\n</think>\n\nsome words\n\n{CALL}"
    ids = BACKEND.encode(text, add_special_tokens=False).ids
    for _ in range(30):
        reading = Reading(with_tools("qwen3"), BACKEND, stop_ids=(), stop_texts=())
        said, rest = "", list(ids)
        while rest:
            size = draw.randint(1, 9)
            part, rest = rest[:size], rest[size:]
            finish = None if rest else "stop"
            said += "|".join(
                p.text for p in reading.take(Delta("", tuple(map(Token, part)), finish))
            )
        assert said.replace("|", "") == "a\n\nbsome words"
        assert [c.name for c in reading.calls] == ["weather"]
