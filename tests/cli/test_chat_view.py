"""What a terminal shows and what a script gets."""

import io

import pytest

from tunesmith.cli.chat_view import Columns, Lines
from tunesmith.infer.thinking import Marks

MARKS = Marks("<think>", "</think>")
ANSWER = "<think>\nHm.\n</think>\n\nYes."


def _shown(view, *answers, refuse=None):
    with view.turn([name for name, _ in answers]) as turn:
        for name, text in answers:
            turn.begin(name)
            if text is None:
                turn.refuse("too long")
                continue
            for letter in text:
                turn.write(letter)
            turn.end()


def test_in_a_pipe_stdout_has_the_answers_alone():
    out, beside = io.StringIO(), io.StringIO()
    view = Lines(out.write, beside.write, marks=MARKS)
    _shown(view, ("Assistant", ANSWER))
    _shown(view, ("Assistant", None))
    view.note("seed 4")
    assert out.getvalue() == f"{ANSWER}\n"
    assert beside.getvalue() == "refused: too long\nseed 4\n"


def test_in_a_pipe_two_models_are_told_apart():
    out, beside = io.StringIO(), io.StringIO()
    _shown(Lines(out.write, beside.write), ("Base", "no"), ("Tuned", None))
    assert out.getvalue() == "Base: no\nTuned: \n"
    assert beside.getvalue() == "refused: Tuned: too long\n"


def test_thoughts_are_dim_on_a_terminal_and_words_steer_nothing():
    out = io.StringIO()
    _shown(Lines(out.write, marks=MARKS, terminal=True), ("Assistant", ANSWER + "\x1b[31mred"))
    shown = out.getvalue()
    assert shown.startswith("Assistant: \x1b[2m<think>")
    dim = "".join(part.split("\x1b[0m")[0] for part in shown.split("\x1b[2m")[1:])
    assert dim == "<think>\nHm.\n</think>"
    assert "\x1b[31m" not in shown
    assert "Yes." in shown.split("\x1b[0m")[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_thoughts_can_be_left_out(terminal):
    out = io.StringIO()
    _shown(Lines(out.write, marks=MARKS, terminal=terminal, hide=True), ("Assistant", ANSWER))
    assert out.getvalue() == "Assistant: Yes.\n"


@pytest.mark.parametrize("hide", [False, True])
def test_two_answers_stand_side_by_side(monkeypatch, hide):
    import rich
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(rich, "_console", console)
    view = Columns(out.write, marks=MARKS, hide=hide)
    _shown(view, ("Base", "No. " * 20), ("Tuned", ANSWER), ("Third", None))
    final = out.getvalue().splitlines()[-8:]
    heads = next(line for line in out.getvalue().splitlines() if "Base" in line)
    assert heads.index("Base") < heads.index("Tuned") < heads.index("Third")
    joined = "\n".join(final)
    assert "(refused: too long)" in joined
    assert ("Hm." in joined) != hide
    assert all(len(line) <= 80 for line in final)
