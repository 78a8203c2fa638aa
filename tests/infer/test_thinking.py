"""What is thought and what is said, however the answer was cut into pieces."""

import pytest

from tunesmith.infer.thinking import Marks, Thinking, said, whole

MARKS = Marks("<think>", "</think>")
CASES = [
    (MARKS, "<think>\nHm.</th\n</think>\n\nYes.", "<think>\nHm.</th\n</think>"),
    (MARKS, "\n<think></think>Yes", "\n<think></think>"),
    (MARKS, "<think>never ends </thin", "<think>never ends </thin"),
    (MARKS, "No. <think>words</think>", ""),
    (MARKS, "<thin", ""),
    (MARKS, "", ""),
    (MARKS, "a </think> b", ""),
    (Marks("<think>", "</think>", True), "Hm.\n</think>\n\nYes.", "Hm.\n</think>"),
    (None, "<think>a</think>b", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("marks", "text", "thought"), CASES)
def test_thoughts_are_told_from_words_in_pieces_of_any_size(marks, text, thought, size):
    thinking = Thinking(marks)
    pieces = [p for i in range(0, len(text), size) for p in thinking.push(text[i : i + size])]
    pieces += thinking.finish()
    assert "".join(piece for piece, _ in pieces) == text
    assert "".join(piece for piece, inside in pieces if inside) == thought


def test_nothing_is_held_back_that_cannot_become_a_mark():
    thinking = Thinking(MARKS)
    assert thinking.push("<think>a") == [("<think>a", True)]
    assert thinking.push("b<") == [("b", True)]
    assert thinking.push("c") == [("<c", True)]


def test_an_answer_without_its_thought():
    assert said("<think>\nHm.\n</think>\n\nYes.", MARKS) == "Yes."
    assert said(" Yes.", MARKS) == " Yes."
    assert said("<think>Hm", MARKS) == ""


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<a>final<b>Yes. <a>final<b>", "Yes. <a>final<b>"),
        ("<a>fin", "<a>fin"),
        ("<a>finally", "<a>finally"),
        ("<a>final<b>", ""),
        ("<a>hm</a>Yes.", "<a>hm</a>Yes."),
        ("</a>Yes.", "Yes."),
    ],
)
def test_what_stands_before_words_without_a_thought_is_not_shown(text, shown, size):
    marks = Marks("<a>hm", "</a>", leads=("<a>final<b>", "</a>"))
    thinking = Thinking(marks)
    pieces = [p for i in range(0, len(text), size) for p in thinking.push(text[i : i + size])]
    pieces += thinking.finish()
    assert "".join(piece for piece, _ in pieces) == whole(text, marks) == shown
