"""What is a thought, what a history keeps of it, and which answers read as they were given."""

import pytest

from template_cases import turns
from tunesmith.templates.format import Thinking
from tunesmith.templates.thoughts import (
    Form,
    History,
    after_thought,
    as_given,
    parted,
    unsilenced,
    without_thought,
)
from tunesmith.types import Call, Message

MARKS = Thinking(open="<think>\n", close="\n</think>\n\n")
SAID = "<think>\nhm\n</think>\n\nyes"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (SAID, "yes"),
        ("<think>hm</think>yes", "yes"),
        ("<think>a</think><think>b</think>\nyes", "yes"),
        ("so\n<think>a</think>\nyes", "soyes"),
        ("</think> yes", "</think> yes"),
        ("<think>cut", "<think>cut"),
        ("</think>x<think>", "</think>x<think>"),
        ("yes", "yes"),
    ],
)
def test_only_a_whole_thought_is_left_out(words, left):
    assert without_thought(words, MARKS) == left


@pytest.mark.parametrize(
    ("thinking", "words", "form"),
    [
        (True, "yes", Form("yes", MARKS.none)),
        (True, SAID, Form(SAID)),
        (None, SAID, Form(SAID)),
        (False, SAID, Form("yes", MARKS.none)),
        (True, "</think> 4", Form("</think> 4")),  # half a mark is a mark
    ],
)
def test_an_answer_as_it_is_given(thinking, words, form):
    assert as_given(words, MARKS, enable_thinking=thinking) == form
    assert as_given(words, None, enable_thinking=thinking) == Form(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (SAID, "yes"),
        ("<think>hm</think>yes", "yes"),
        ("<think>\nhm\n</think>\n\n", ""),
        ("<think>a</think>b</think>\nyes\n", "yes\n"),
        ("yes", "yes"),
        ("\nyes", "yes"),
        ("", ""),
    ],
)
def test_what_stands_behind_the_last_closing_mark_is_what_was_said(words, said):
    assert after_thought(words, MARKS) == said


@pytest.mark.parametrize(
    ("words", "thinking", "alone"),
    [
        ("yes", None, False),
        ("yes", False, False),
        (SAID, True, False),
        (SAID, None, True),
        (SAID, False, False),
        ("</think> 4", False, True),
    ],
)
def test_an_answer_with_a_thought_that_nothing_asked_for_is_given_as_if_it_had(
    words, thinking, alone
):
    assert unsilenced(words, MARKS, enable_thinking=thinking) == alone
    assert not unsilenced(words, None, enable_thinking=thinking)


def history(policy, *, preserve=False, chain=False):
    call = Message("function", SAID, calls=(Call("f", "{}"),))
    messages = turns("q", SAID, "q", SAID)
    if chain:
        messages = (*turns("q"), call, Message("observation", "1"), *turns("", SAID)[1:])
    marks = MARKS.model_copy(update={"history": policy})
    return History(messages, marks, enable_thinking=True, preserve=preserve)


def test_the_history_keeps_what_its_policy_says():
    assert history("strip").form(1, 3) == Form("yes")
    assert history("since_user").form(1, 3) == Form("yes")
    assert history("keep").form(1, 3) == Form(SAID)
    assert history("strip", preserve=True).form(1, 3) == Form(SAID)
    assert history("strip", chain=True).form(1, 3) == Form("yes")
    assert history("since_user", chain=True).form(1, 3) == Form(SAID)


def test_an_answer_reads_as_given_only_if_all_before_it_do():
    assert not history("strip").reads_as_given(1, 3)
    assert history("strip").reads_as_given(3, 3)
    assert history("keep").reads_as_given(1, 3)
    assert history("since_user", chain=True).reads_as_given(1, 3)


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (SAID, [("<think>", True), ("\nhm\n", False), ("</think>", True), ("\n\nyes", False)]),
        (
            "<think>a</think></think>b",
            [("<think>", True), ("a", False), ("</think>", True), ("</think>b", False)],
        ),
        ("so <think>a</think>b", [("so <think>a</think>b", False)]),
        ("<think>cut", [("<think>cut", False)]),
        ("</think><think>", [("</think><think>", False)]),
    ],
)
def test_only_marks_around_a_thought_that_begins_an_answer_are_marks(words, pieces):
    assert parted(words, MARKS) == pieces
    assert "".join(text for text, _ in parted(words, MARKS)) == words
