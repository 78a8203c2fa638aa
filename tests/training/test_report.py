"""Plain output is whole lines without control characters; live output moves one bar."""

import io
import re

import pytest

from tunesmith.training.report import Live, Plain, Silent, line, report_for

RECORD = {
    "current_steps": 5, "total_steps": 453, "loss": 1.5, "grad_norm": 0.7, "lr": 1e-4,
    "epoch": 0.01, "throughput": 312.4, "remaining_time": "0:12:00",
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drive(report):
    report.work("reading", 1, 2)
    report.work("reading", 2, 2)
    for done in (1, 2, 3):
        report.step(done, 3, loss=1.5, tokens_per_second=312.0, left=60.0)
    report.log(RECORD)
    report.log({"current_steps": 5, "total_steps": 453, "eval_loss": 1.25})
    report.say("saved")
    report.close()


def test_plain_output_is_flushed_lines_without_control_characters():
    stream = io.StringIO()
    drive(Plain(stream))
    text = stream.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    first, second, third = text.splitlines()
    for word in ("5/453", "loss 1.5000", "grad_norm", "learning_rate", "epoch", "312 tokens/s"):
        assert word in first
    assert "left 0:12:00" in first
    assert "eval_loss 1.2500" in second
    assert third == "saved"


def test_long_preparation_shows_a_sign_of_life():
    stream = io.StringIO()
    Plain(stream, work_every_seconds=0).work("tokenising", 10, 20)
    assert stream.getvalue() == "tokenising: 10/20\n"


def test_work_that_showed_a_sign_of_life_shows_its_end_too():
    stream = io.StringIO()
    report = Plain(stream, work_every_seconds=0)
    report.work("tokenising", 10, 20)
    report._every = 1000.0
    report.work("tokenising", 11, 20)
    report.work("tokenising", 20, 20)
    report.work("answering", 20, 20)  # quick work says nothing
    assert stream.getvalue() == "tokenising: 10/20\ntokenising: 20/20\n"


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left():
    stream = Terminal()
    report = report_for(stream)
    assert isinstance(report, Live)
    drive(report)
    text = stream.getvalue()
    assert "loss 1.5000  312 tokens/s  left 0:01:00" in text
    assert "saved" in text


def test_anything_else_gets_plain_lines():
    assert isinstance(report_for(io.StringIO()), Plain)


def test_an_example_shows_what_is_trained(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    pieces = [("<|im_start|>user\nhi", False), ("hello<|im_end|>", True), ("\n", False)]
    stream = io.StringIO()
    Plain(stream).example(pieces)
    assert "user\n    hi⟦hello<|im_end|>⟧" in stream.getvalue()
    terminal = Terminal()
    Live(terminal).example(pieces)
    assert "hello<|im_end|>" in terminal.getvalue()
    assert "⟦" not in terminal.getvalue()
    assert "in green" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    Live(terminal).example(pieces)
    assert "⟦hello<|im_end|>⟧" in terminal.getvalue()
    assert "green" not in terminal.getvalue(), "nobody sees it"


def test_silence_takes_everything():
    drive(Silent())


def test_an_evaluation_is_one_line():
    assert line(
        {"current_steps": 1, "total_steps": 2, "eval_loss": 0.5, "eval_accuracy": 0.25}
    ) == ("step 1/2  eval_loss 0.5000  eval_accuracy 0.2500")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["plain", "live"])
def test_control_characters_of_a_row_do_not_reach_the_terminal(stream):
    report = report_for(stream)
    report.example([("a\x1b]0;pwn\x07\r", False), ("b\x9b1m", True)])
    report.say("column \x1b[2J")
    text = stream.getvalue()
    for spelled in ("a\\x1b]0;pwn\\x07\\x0d", "b\\x9b1m", "column \\x1b[2J"):
        assert spelled in text
    assert not re.search(r"\x07|\r|\x9b|\x1b[^\[]|\x1b\[2J", text)


def test_on_a_narrow_terminal_a_step_is_one_line_and_the_rest_is_in_the_bar(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    report = Live(stream)
    usual = {**RECORD, "current_steps": 4100, "total_steps": 4530, "epoch": 12.34}
    report.log(usual)
    (shown,) = stream.getvalue().splitlines()
    assert "loss 1.5000" in shown
    assert len(shown) <= 79
    assert report.width == 79
    assert len(line(usual)) > 79, "in a file there is room for all of it"
    assert Plain(stream).width is None


def test_the_loss_of_each_dataset_follows_that_of_all():
    record = {"current_steps": 5, "total_steps": 9, "eval_loss": 1.25, "eval_a_loss": 2.0}
    assert line(record) == "step 5/9  eval_loss 1.2500  eval_a_loss 2.0000"
