"""`tunesmith template show`: what is learned under a template, in colours or without."""

import json

from rich.console import Console

from tiny_model import tiny_model
from tunesmith.cli import template_show
from tunesmith.cli.main import main

JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def out(capsys, *arguments, code=0):
    assert main(["template", "show", *map(str, arguments)]) == code
    return capsys.readouterr()


def test_an_example_shows_what_is_learned(capsys, tmp_path):
    text = out(capsys, "chatml").out
    assert "⟦21 °C.<|im_end|>⟧" in text
    first = [text.index(words) for words in ("How are you?", "Be brief.", "Weather in Paris?")]
    assert first == sorted(first), "the plain chat stands first"
    told = json.loads(out(capsys, "chatml", "--json").out)
    spans = told["examples"]["with tools"][0]
    assert [s["text"] for s in spans if s["trained"]][-2:] == ["21 °C.", "<|im_end|>"]
    mine = tmp_path / "mine.yaml"
    mine.write_text("like: chatml\ndefault_system: Mine.\n")
    assert "⟦21 °C.<|im_end|>⟧" in out(capsys, mine).out
    assert "chatml" in out(capsys, "chatmll", code=2).err


def test_it_begins_with_what_the_template_says_of_itself(capsys):
    lines = out(capsys, "qwen").out.splitlines()
    assert lines[0] == "template  qwen"
    assert lines[1] == "stops at  <|im_end|>"
    assert (
        lines[2] == "system    You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    )
    assert lines[3:5] == ["tools     qwen", "thoughts  not marked"]


def test_a_template_whose_answers_learn_no_end_is_told_as_a_run_tells_it(capsys, tmp_path):
    mine = tmp_path / "mine.yaml"
    text = 'like: chatml\nroles:\n  assistant: {open: "A: ", stop: ""}\n'
    mine.write_text(text)
    told = out(capsys, mine).out
    assert "end       nothing that an answer learns under template mine ends it" in told
    assert "a run refuses it" in told
    mine.write_text(f"{text}open_ended: true\n")
    told = out(capsys, mine).out
    assert "ends it" in told
    assert "refuses" not in told
    assert "\nend " not in out(capsys, "chatml").out


def test_every_answer_that_is_learned_is_shown_so(capsys):
    text = out(capsys, "qwen3").out
    assert "one with several answers becomes a text for each" in text
    assert "--- two questions, text 1 of 2" in text
    for answer in ("Fine.", "4.", "21 °C."):
        assert f"{answer}<|im_end|>⟧" in text
    plain = out(capsys, "chatml").out
    assert "text 1 of" not in plain
    assert "rows " not in plain
    assert "⟦Fine.<|im_end|>⟧" in plain


def test_a_jinja_file_is_shown_with_or_without_the_tokens_of_a_model(capsys, tmp_path):
    path = tmp_path / "x.jinja"
    path.write_text(JINJA)
    text = out(capsys, path).out
    assert "stops at  <|im_end|>" in text
    assert "⟦4.<|im_end|>⟧" in text
    assert "with tools" not in text, "this one leaves them out"
    model = tiny_model(tmp_path, template=JINJA)
    own = out(capsys, "own", "--tokenizer", model).out
    assert own.partition("stops at")[2] == text.partition("stops at")[2].replace(", <eos>", "")


def test_without_colours_brackets_stand_for_them(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(force_terminal=True)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    text = out(capsys, "chatml").out
    assert "⟦Fine.<|im_end|>⟧" in text
    assert "in ⟦⟧: learned" in text
    assert "green" not in text
    monkeypatch.delenv("NO_COLOR")
    console = Console(force_terminal=True, color_system="standard", width=80)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    text = out(capsys, "chatml").out
    assert "\x1b[32mFine." in text
    assert "⟦" not in text
    assert "green: learned" in text


def test_what_a_template_says_cannot_command_the_terminal(capsys, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text('like: chatml\ndefault_system: "a\\x1b[2J"\n')
    text = out(capsys, path).out
    assert "\x1b" not in text
    assert "a\\x1b[2J" in text


def test_line_breaks_in_facts_are_spelled():
    assert template_show._told("\n\n") == r"'\n\n'"
    assert template_show._told("<think>\n") == r"<think>\n"
