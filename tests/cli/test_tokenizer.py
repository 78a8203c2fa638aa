"""`tunesmith tokenizer check`: the report, the repair, and every way to ask wrongly."""

import json
import re
import shlex

import pytest
import torch
from safetensors.torch import save_file

from tiny_gguf import tiny_gguf
from tiny_model import tiny_model
from tiny_tokenizer import tiny_tokenizer
from tunesmith.cli.main import main

OWN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OWN += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def asked(*words):
    return main(["tokenizer", "check", *map(str, words)])


def test_a_sound_model_is_reported_with_the_padded_sentences(tmp_path, capsys):
    assert asked(tiny_model(tmp_path)) == 0
    out = capsys.readouterr().out
    for word in ("bos", "eos", "unk", "pad", "a row for every id", "two sentences", "mask",
                 "AutoTokenizer"):  # fmt: skip
        assert word in out


def test_the_template_that_is_named_or_brought_is_looked_at(tmp_path, capsys):
    own = tiny_model(tmp_path, name="own", template=OWN)
    assert asked(own) == 0
    assert "<|im_end|> is one token" in capsys.readouterr().out
    assert asked(own, "--template", "own") == 0
    assert "<|im_end|> is one token" in capsys.readouterr().out
    assert asked(own, "--template", "llama3") == 2
    out = capsys.readouterr().out
    assert re.search(r"error +stop word +<\|eot_id\|>", out)
    assert "<|start_header_id|> (" in out
    assert re.search(r"bos +none", out)


def test_json_is_json_only(tmp_path, capsys):
    assert asked(tiny_model(tmp_path), "--template", "chatml", "--json") == 0
    out, error = capsys.readouterr()
    record = json.loads(out)
    assert error == ""
    assert {f["what"]: f["level"] for f in record["findings"]}["eos"] == "ok"
    assert len(record["example"]["ids"]) == 2


def test_a_gguf_file_is_a_model_too(tmp_path, capsys):
    path = tiny_gguf(tiny_model(tmp_path), tmp_path / "tiny.gguf")
    assert asked(path) == 0
    assert "a row for every id" in capsys.readouterr().out


def test_a_repair_is_written_and_looked_at_again(tmp_path, capsys):
    out = tmp_path / "out"
    code = asked(tiny_model(tmp_path), "--fix", "unk=<|extra_0|>", "bos=<|extra_1|>",
                 "eos=<|endoftext|>", "--output", out, "--json")  # fmt: skip
    assert code == 0
    record = json.loads(capsys.readouterr().out)
    assert record["repaired"]["named"]["unk"] == {"was": None, "token": "<|extra_0|>", "id": 468}
    assert {f["what"]: f["level"] for f in record["after"]["findings"]}["unk"] == "ok"
    assert asked(out) == 0


def test_a_broken_name_is_exit_code_2_until_it_is_repaired(tmp_path, capsys):
    model = tiny_model(tmp_path)
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unk_token": "<gone>"}))
    assert asked(model) == 2
    assert "<gone>, which is no token" in capsys.readouterr().out
    assert asked(model, "--fix", "unk=<|endoftext|>", "--output", tmp_path / "out") == 0


WRONG = {
    "an unknown name": ["--fix", "bso=<s>", "--output", "OUT"],
    "no token": ["--fix", "bos=", "--output", "OUT"],
    "no sign": ["--fix", "bos", "--output", "OUT"],
    "twice": ["--fix", "bos=a", "bos=b", "--output", "OUT"],
    "nowhere": ["--fix", "bos=<s>"],
    "nothing": ["--output", "OUT"],
    "a full directory": ["--fix", "bos=<s>", "--output", "FULL"],
    "a sentence": ["--fix", "eos=nonsense words", "--output", "OUT"],
    "an unknown template": ["--template", "chatmll"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_asked_wrongly_is_one_error_and_leaves_nothing(name, tmp_path, capsys):
    model = tiny_model(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    places = {"OUT": str(tmp_path / "out"), "FULL": str(tmp_path / "full")}
    assert asked(model, *(places.get(word, word) for word in WRONG[name])) == 2
    out, error = capsys.readouterr()
    assert error.startswith("error: ")
    assert error.count("error:") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert out == ""


def test_a_tokenizer_without_a_model_is_looked_at_without_the_rows(tmp_path, capsys):
    alone = tiny_tokenizer(tmp_path / "alone")
    assert sorted(path.name for path in alone.iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert asked(alone, "--template", "chatml") == 0
    out = capsys.readouterr().out
    assert "tokens, no model beside it" in out
    assert "<|im_end|> is one token" in out
    assert "embedding" not in out
    assert asked(alone, "--fix", "unk=<|im_end|>", "--output", tmp_path / "out") == 2
    assert "config.json" in capsys.readouterr().err


def test_the_suggested_repair_can_be_typed_as_it_stands(tmp_path, capsys):
    model = tiny_model(tmp_path, name="a model")
    path = model / "tokenizer_config.json"
    without = {k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}
    path.write_text(json.dumps(without))
    assert asked(model) == 0
    out = capsys.readouterr().out
    assert "padded with <|im_end|>" in out
    line = next(line for line in out.splitlines() if "--fix" in line)
    program, verb, check, *words = shlex.split(line, comments=False)
    assert (program, verb, check) == ("tunesmith", "tokenizer", "check")
    assert words == [str(model), "--fix", "pad=<|im_end|>", "--output", "DIR"]
    assert asked(*words[:-1], tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert out.startswith("repaired  ")
    assert out.count("two sentences") == 1, "the report on what was written, and no other"


def test_all_findings_stand_in_one_column(tmp_path, capsys):
    assert asked(tiny_model(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith(("  ok ", "  note "))]
    starts = {len(re.match(r"  \w+ +\w+ +", row)[0]) for row in rows}
    assert len(starts) == 1


def test_an_adapter_is_told_from_a_model(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert asked(tmp_path) == 2
    assert "an adapter" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_error(tmp_path, capsys):
    assert asked(tmp_path / "gone") == 2
    assert capsys.readouterr().err.startswith("error: ")
