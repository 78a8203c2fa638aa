"""Rows on a terminal: colours where there are any, else the class of each run in the margin."""

import re

import pytest
from rich.console import Console

from tunesmith.cli import rows_text
from tunesmith.data.ledger import Skip
from tunesmith.data.show import Showing, Shown, Text
from tunesmith.data.uncut import Token
from tunesmith.types import Origin

TOKENS = (
    Token(1, "<s>user\n", True, False),
    Token(2, "old ", False, False, True),
    Token(3, "ask\u202e", False, False),
    Token(4, "\n<s>bot\n", True, False),
    Token(5, "say 你好", False, True),
    Token(6, "<e>", True, True),
)
ORIGIN = Origin("d", "d.jsonl", 7, 3)
ROW = Shown(ORIGIN, True, (Text(TOKENS, ("a note\x1b[31m",)),))
BAD = Skip("empty answer", ORIGIN, "d.jsonl:7: output", "", "some words", "on_bad_row=skip")
SKIPPED = Shown(ORIGIN, False, (), BAD, '{\n  "output": ""\n}')


def shown(*rows):
    return Showing(rows, ("d: 1 of 9 rows",), ("a column is not read",))


@pytest.fixture
def colours(monkeypatch, capsys):
    """What is printed on a terminal of so many columns."""

    def printed(found, width=80):
        console = Console(
            highlight=False, force_terminal=True, color_system="standard", width=width
        )
        monkeypatch.setattr("rich.console.Console", lambda **_: console)
        rows_text.show(found)
        return capsys.readouterr().out

    monkeypatch.delenv("NO_COLOR", raising=False)
    return printed


def test_in_a_pipe_the_class_of_each_run_stands_in_the_margin(capsys):
    rows_text.show(shown(ROW))
    assert capsys.readouterr().out == (
        "d: 1 of 9 rows\n"
        "\n"
        "d.jsonl:7 (row 3)  d  held out\n"
        "5 tokens, 2 trained, 1 cut\n"
        "a note\\x1b[31m\n"
        "control │ <s>user↵\n"
        "cut     │ old \n"
        "context │ ask⟨U+202E⟩\n"
        "control │ ↵\n"
        "        │ <s>bot↵\n"
        "trained │ say 你好<e>\n"
        "\n"
        "of these rows\n"
        "  a column is not read\n"
    )


def test_each_class_has_its_colour(colours):
    text = colours(shown(ROW))
    assert "\x1b[36m<s>user" in text
    assert "\x1b[9;31mold \x1b[0m" in text
    assert "\x1b[32msay 你好\x1b[0m\x1b[1;32m<e>" in text
    assert "\x1b[36mcontrol\x1b[0m the template's own" in text
    assert "│" not in text
    assert "⟨U+202E⟩" in text
    assert "\x1b[31m" not in text.replace("\\x1b[31m", "").replace("\x1b[9;31m", ""), "only ours"


@pytest.mark.parametrize("columns", [24, 40])
def test_a_narrow_terminal_without_colours_wraps_beside_the_margin(capsys, monkeypatch, columns):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("tunesmith.training.report.width_of", lambda _: columns)
    long = Text((Token(1, "words 你好 " * 20, False, True),))
    rows_text.show(shown(ROW._replace(texts=(long,))))
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert len(lines) > 3
    assert [line.partition("│")[0].strip() for line in lines] == ["trained"] + [""] * (
        len(lines) - 1
    )
    joined = "".join(line.partition("│ ")[2] for line in lines)
    assert joined == "words 你好 " * 20
    wide = max(len(re.sub("[你好]", "xx", line)) for line in lines)
    assert wide <= max(columns, 31)


def test_a_skipped_row_says_why(capsys, colours):
    rows_text.show(shown(SKIPPED))
    for text in (capsys.readouterr().out, colours(shown(SKIPPED))):
        assert "skipped: empty answer" in text
        assert "where  d.jsonl:7: output" in text
        assert "try    on_bad_row=skip" in text
        assert '"output": ""' in text


def test_several_texts_are_numbered_and_one_that_is_cut_whole_says_so(capsys):
    cut = Text(tuple(token._replace(cut=True) for token in TOKENS))
    rows_text.show(shown(ROW._replace(texts=(Text(TOKENS), cut))))
    text = capsys.readouterr().out
    assert "text 1 of 2: 5 tokens, 2 trained, 1 cut\n" in text
    assert "text 2 of 2: 6 tokens, all cut\n" in text
