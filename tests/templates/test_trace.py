"""What is written down of some words decides the same for others."""

import pytest

from tunesmith.templates.trace import (
    MOST_STEPS,
    Opaque,
    Trace,
    is_marked,
    joined,
    pieces_of,
    text_of,
)

A, B = text_of((0,)), text_of((1,))


def asked(trace):
    return [step for step in trace.steps if step.asked]


def test_a_text_is_constants_and_marks_and_back():
    pieces = (0, "a ", 1, 1, " b")
    assert pieces_of(text_of(pieces)) == pieces
    assert joined(["x", "y"], pieces) == "xa yy b"
    assert pieces_of("") == ()
    assert is_marked(A)
    assert not is_marked("\ue0000\ue001")


@pytest.mark.parametrize(
    "spoilt",
    [A[1:], A[:-1], A.strip(), A.upper(), A.lower(), A.title(), A[: len(A) // 2], A[::-1],
     A.replace("<", "&lt;"), A.replace('"', '\\"'), A.replace("\\", "\\\\"), "\ue000", "\ue001"],
    ids=range(13),  # marks are drawn anew in every process
)  # fmt: skip
def test_a_mark_that_something_has_changed_is_found(spoilt):
    with pytest.raises(Opaque):
        pieces_of(f"before:{spoilt}:after")


def test_what_follows_from_the_constants_is_not_asked():
    trace = Trace(["one", "two"])
    assert trace.begins(f"x{A}y{B}", f"x{A}y")
    assert trace.begins(f"x{A}y{B}", f"y{B}", at_end=True)
    assert not trace.begins(f"x{A}", f"y{A}")
    assert not trace.begins(f"x{A}a", "b", at_end=True)
    assert not trace.begins("", f"x{A}")
    assert trace.equal(f"x{A}{B}", f"x{A}{B}")
    assert not trace.equal(f"x{A}y", f"x{B}z")
    assert not trace.equal(f"{A}x", A)
    assert trace.truth(f"{A}x")
    assert not trace.truth("")
    assert trace.without(f"x{A}y{B}", f"x{A}") == f"y{B}"
    assert trace.steps == []


@pytest.mark.parametrize(
    "words", [("", ""), ("a", ""), ("ab", "a"), ("a", "ab"), (" ", " a"), ("ba", "b"), ("b", "b")]
)
def test_what_depends_on_the_words_is_asked_and_right(words):
    texts = [A, B, A + B, B + A, f"a{A}", f"{A}b", f"b{A}a{B}", "a", " ", "ab", ""]
    for left in texts:
        for right in texts:
            trace = Trace(words)
            said, other = (joined(list(words), pieces_of(t)) for t in (left, right))
            assert trace.begins(left, right) == said.startswith(other)
            assert trace.begins(left, right, at_end=True) == said.endswith(other)
            assert trace.equal(left, right) == (said == other)
            assert trace.truth(left) == bool(said)
            if not is_marked(right):
                cut = trace.without(left, right)
                assert joined(trace.values, pieces_of(cut)) == said.removeprefix(other)


def test_the_same_question_is_asked_once():
    trace = Trace(["one"])
    assert trace.begins(A, "o")
    assert trace.begins(A, "o")
    assert trace.make(str.strip, 0) == trace.make(str.strip, 0) == 1
    assert len(trace.steps) == 2
    assert [(s.args, s.answer) for s in asked(trace)] == [(("o",), True)]


def test_a_program_that_does_too_much_is_not_followed():
    trace = Trace(["one"])
    for number in range(MOST_STEPS):
        trace.ask(str.startswith, 0, str(number))
    with pytest.raises(Opaque):
        trace.ask(str.startswith, 0, "one more")
    assert trace.broken


def test_a_text_that_doubles_again_and_again_is_not_followed():
    trace, slot = Trace(["word"]), 0
    for _ in range(22):
        slot = trace.slot((slot, slot))
    with pytest.raises(Opaque):
        trace.slot((slot, slot))


def test_the_time_is_a_question():
    trace = Trace([])
    assert trace.now("%Y").isdigit()
    assert [s.answer for s in asked(trace)] == [trace.now("%Y")]


def test_the_dearest_rendering_counts():
    trace = Trace([])
    trace.count_text()
    trace.end_rendering(5)
    trace.end_rendering(3)
    assert (trace.spent, trace.sized, trace.listed) == (5, 1, 0)
