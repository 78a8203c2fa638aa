"""`tunesmith template`: the list, an example, cases rendered line by line, the check of a run."""

import json

from tiny_model import tiny_model
from tiny_run import tiny_run
from tunesmith.cli.main import main

JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def out(capsys, *arguments, code=0):
    assert main(["template", *map(str, arguments)]) == code
    return capsys.readouterr()


def test_cases_are_rendered_line_by_line(capsys, tmp_path):
    model = tiny_model(tmp_path, name="model")
    cases = tmp_path / "cases.jsonl"
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    half = '{"messages": [], "system": "\\ud800"}\n'
    cases.write_text(json.dumps(good) + "\n\n" + '{"messages": []}\n' + half)
    flags = ("--tokenizer", model, "--input", cases)
    printed = out(capsys, "render", "chatml", *flags).out.splitlines()
    first, second, third = map(json.loads, printed)
    start = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert first["pairs"] == [{"prompt": start, "response": "b<|im_end|>\n"}]
    assert len(first["input_ids"]) == len(first["labels"])
    assert {*first["stop_ids"]} <= {*first["input_ids"], *first["stop_ids"]}
    assert first["error"] is None
    assert second["pairs"] is None
    assert "messages" in second["error"]
    assert "\\ud800" in third["error"]
    written = tmp_path / "out.jsonl"
    out(capsys, "render", "chatml", *flags, "--output", written)
    assert [json.loads(line) for line in written.read_text().splitlines()] == [first, second, third]


def test_the_date_that_tools_print_is_the_recorded_one_unless_told(capsys, tmp_path):
    model = tiny_model(tmp_path, name="model")
    cases = tmp_path / "cases.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    case = {"messages": turns, "tools": '[{"name": "f"}]'}
    told = case | {"options": {"today": "2026-11-02"}}
    cases.write_text("".join(json.dumps(one) + "\n" for one in (case, told)))
    flags = ("--tokenizer", model, "--input", cases)

    def days(*more):
        lines = out(capsys, "render", "llama3", *flags, *more).out.splitlines()
        prompts = [json.loads(line)["pairs"][0]["prompt"] for line in lines]
        return [p.partition("Today Date: ")[2][:11] for p in prompts]

    assert days() == ["01 Jan 2025", "02 Nov 2026"]
    assert days("--today", "2025-12-31") == ["31 Dec 2025", "02 Nov 2026"]
    found = out(capsys, "render", "llama3", *flags, "--today", "tomorrow", code=2)
    assert "YYYY-MM-DD" in found.err


def test_what_is_missing_or_broken_is_said(capsys, tmp_path):
    assert "--tokenizer" in out(capsys, "render", "chatml", code=2).err
    assert "name of a template" in out(capsys, "show", code=2).err
    model = tiny_model(tmp_path, name="model")
    broken = tmp_path / "cases.jsonl"
    broken.write_text("{}\n{")
    found = out(capsys, "render", "chatml", "--tokenizer", model, "--input", broken, code=2)
    assert "cases.jsonl:2" in found.err
    for odd in (b"{}\n\xff", b"{}\n" + b"[" * 100_000):
        broken.write_bytes(odd)
        flags = ("--tokenizer", model, "--input", broken)
        assert "cases.jsonl:2" in out(capsys, "render", "chatml", *flags, code=2).err
    for nothing in (tmp_path, tmp_path / "none.jsonl"):
        flags = ("--tokenizer", model, "--input", nothing)
        assert str(nothing) in out(capsys, "render", "chatml", *flags, code=2).err
    yaml = tmp_path / "mine.yaml"
    yaml.write_bytes(b"\xff")
    assert "UTF-8" in out(capsys, "show", yaml, code=2).err
    assert not found.out


def test_the_check_shows_the_first_difference_to_the_models_own(capsys, tmp_path):
    path = tiny_run(tmp_path, model={"template": JINJA}, template="vicuna")
    text = out(capsys, "check", path).out
    assert "'A chat between a curious user" in text
    assert "'<|im_start|>user" in text
    assert {"one turn", "with system text"} <= {
        m["probe"] for m in json.loads(out(capsys, "check", path, "--json").out)
    }
    assert out(capsys, "check", path, "template=chatml").out.startswith("with tools")
    assert main(["plan", str(path), "template_mismatch=refuse"]) == 2
    assert "template_mismatch" in capsys.readouterr().err
