"""`tunesmith template list`: all templates, some of them, in the width that there is."""

import json
import os

from tunesmith.cli.main import main
from tunesmith.cli.template_list import show
from tunesmith.templates import names


def out(capsys, *arguments, code=0):
    assert main(["template", "list", *arguments]) == code
    return capsys.readouterr()


def test_the_list_names_every_template(capsys):
    text = out(capsys).out
    assert all(f"\n{name} " in text for name in names())
    assert "`default` is in words" in text
    rows = {row["name"]: row for row in json.loads(out(capsys, "--json").out)}
    assert rows["qwen3"]["thinking"]
    assert rows["llama3"]["tools"] == "llama3"


def test_a_word_chooses_templates_by_their_name_or_model(capsys):
    found = {row["name"] for row in json.loads(out(capsys, "QwQ", "--json").out)}
    assert found == {"qwen"}
    assert json.loads(out(capsys, "smollm2", "--json").out)[0]["name"] == "smollm2"
    assert "template show smollm2" in out(capsys, "smollm2").out
    error = out(capsys, "qwn", code=2).err
    assert "qwen" in error


def test_no_line_is_wider_than_the_terminal(capsys):
    for width in (80, 140):
        show(None, as_json=False, width=width)
        assert max(map(len, capsys.readouterr().out.splitlines())) <= width
    show(None, as_json=False, width=None)
    assert "…" not in capsys.readouterr().out.partition(f"{os.linesep}{os.linesep}")[0]
