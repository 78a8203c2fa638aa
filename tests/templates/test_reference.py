"""The printed reference of template files holds every key and is fresh."""

from pathlib import Path

from tunesmith.templates import names
from tunesmith.templates.format import Format, Later, Roles, Round, Special, Thinking, Token, Turn
from tunesmith.templates.reference import main, page, reference

HOME = Path(__file__).parents[2]


def test_every_key_is_there_with_what_it_means():
    text = reference()
    for part in (Format, Roles, Turn, Thinking, Special, Token, Round, Later):
        for key, field in part.model_fields.items():
            assert field.description, f"{part.__name__}.{key} has no docstring"
    for part in (Format, Roles, Turn, Thinking):
        for key, field in part.model_fields.items():
            row = next(line for line in text.splitlines() if line.startswith(f"| `{key}` |"))
            assert row.count(" | ") >= 3
            assert " ".join(field.description.split()).replace("|", "\\|") in text


def test_every_template_is_there_and_those_with_thoughts_twice():
    text = reference()
    rows = [line.split(" | ")[0] for line in text.partition("## Templates that")[2].splitlines()]
    for name, times in (("qwen3", 2), ("chatml", 1), ("gpt_oss", 2)):
        assert rows.count(f"| `{name}`") == times
    assert {f"| `{name}`" for name in names()} <= set(rows)


def test_the_page_is_fresh(capsys):
    assert page(HOME).read_text(encoding="utf8") == reference()
    assert main(["--check"]) == 0


def test_a_stale_page_is_found(monkeypatch, capsys, tmp_path):
    stale = tmp_path / "templates.md"
    stale.write_text("old")
    monkeypatch.setattr("tunesmith.templates.reference.page", lambda root: stale)
    assert main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert main(["--check"]) == 0
