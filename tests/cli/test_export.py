"""`tunesmith export` from the run file: a plain directory that stock transformers opens."""

import json
import shlex

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fake_hub import as_hub
from go_templates import read_modelfile
from template_cases import bound
from tiny_model import tiny_model
from tiny_run import tiny_run
from tunesmith import store
from tunesmith.cli.command import following
from tunesmith.cli.export import for_ollama
from tunesmith.cli.main import main
from tunesmith.models import adapters
from tunesmith.models.load import load_model


def test_the_merged_model_gives_the_logits_of_the_adapter(tmp_path, capsys):
    path = tiny_run(tmp_path, learning_rate=1e-2)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    out = tmp_path / "out" / "export"
    assert facts["proof"]["largest_difference"] <= facts["proof"]["bound"]
    ids = torch.arange(3, 33)[None]
    model = load_model(tmp_path / "model", dtype=torch.float32)
    base = model(ids).logits
    adapters.load_adapter(model, tmp_path / "out", trainable=False)
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    torch.testing.assert_close(merged(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged(ids).logits, base, atol=1e-3)
    messages = [{"role": "user", "content": "hi"}]
    text = AutoTokenizer.from_pretrained(out).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    assert text.endswith("<|im_start|>assistant\n")
    assert main(["export", str(path), f"export_dir={tmp_path / 'm'}"]) == 0
    assert following("chat", tmp_path / "m") in capsys.readouterr().out


def test_a_template_that_is_not_the_trained_one_is_found_before_the_export_has_its_name(
    tmp_path, capsys, monkeypatch
):
    path = tiny_run(tmp_path, max_steps=1)
    assert main(["train", str(path)]) == 0
    other = "{% for m in messages %}{{ m.content }}{% endfor %}"
    monkeypatch.setattr("tunesmith.templates.jinja_to_serve", lambda *_: other)
    assert main(["export", str(path)]) != 0
    assert "the prompt that training used" in capsys.readouterr().err
    assert not (tmp_path / "out" / "export").exists()


def test_a_directory_with_other_files_is_refused(tmp_path, capsys):
    path = tiny_run(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    assert main(["export", str(path), f"export_dir={other}"]) == 2
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]
    assert "other" in capsys.readouterr().err


def test_a_run_without_a_result_is_not_exported_as_its_base(tmp_path, capsys):
    path = tiny_run(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    assert main(["export", str(path)]) == 2
    assert "without a result" in capsys.readouterr().err


def test_before_training_there_is_nothing_to_export_but_the_model_itself(tmp_path, capsys):
    path = tiny_run(tmp_path, max_steps=1)
    assert main(["export", str(path)]) == 2
    error = capsys.readouterr().err
    assert "nothing has been trained there" in error
    assert f"train {path}" in error
    assert not (tmp_path / "out").exists()
    command = error.rpartition("untuned: ")[2].strip().replace("DIR", str(tmp_path / "out/export"))
    words = shlex.split(command)
    assert main([*words[words.index("export") :], "template=chatml"]) == 0
    assert f"nothing is merged: this is {tmp_path}/model itself" in capsys.readouterr().out
    card = (tmp_path / "out" / "export" / "README.md").read_text()
    assert "# model\n" in card
    assert "itself, not tuned" in card
    assert main(["train", str(path)]) == 0
    assert main(["export", str(path)]) == 0
    assert "tuned on tiny" in (tmp_path / "out" / "export" / "README.md").read_text()


def test_modules_trained_in_full_are_served_in_the_precision_of_the_model(tmp_path, capsys):
    path = tiny_run(tmp_path, additional_target="lm_head", model={"tied": False}, bf16=True)
    assert main(["train", str(path), "val_size=2"]) == 0
    assert main(["eval", str(path), "val_size=2"]) == 0


def test_an_export_brings_a_modelfile_with_stops_context_and_sampling(tmp_path, capsys):
    path = tiny_run(tmp_path, max_steps=1, cutoff_len=5000)
    said = {"temperature": 0.6, "top_k": 20}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(said))
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    out = tmp_path / "out" / "export"
    assert main(["export", str(path)]) == 0
    assert f"ollama  cd {out} && ollama create NAME -f Modelfile\n" in capsys.readouterr().out
    read = read_modelfile((out / "Modelfile").read_text())
    context = json.loads((out / "config.json").read_text())["max_position_embeddings"]
    assert dict(read)["FROM"] == "."
    assert "<|im_start|>assistant\n" in dict(read)["TEMPLATE"]
    stops = [value for key, value in read if key == "PARAMETER stop"]
    assert stops == ["<|im_end|>", "<|im_start|>"], "one for each stop id"
    kept = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert len(stops) == len(kept)
    assert int(dict(read)["PARAMETER num_ctx"]) == min(5000, context)
    assert dict(read)["PARAMETER temperature"] == "0.6"
    assert dict(read)["PARAMETER top_k"] == "20"


def test_the_models_own_jinja_becomes_a_modelfile_where_its_strings_can_be_read(tmp_path, capsys):
    own = bound("chatml").jinja()
    path = tiny_run(
        tmp_path, max_steps=1, template=None, default_system="Be kind.", model={"template": own}
    )
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path)]) == 0
    assert "ollama create NAME -f Modelfile" in capsys.readouterr().out
    text = (tmp_path / "out" / "export" / "Modelfile").read_text()
    assert "<|im_start|>user" in text
    assert "Be kind." in dict(read_modelfile(text))["TEMPLATE"], "the run's system text is served"
    assert "<|im_end|>" in dict(read_modelfile(text))["PARAMETER stop"]


def test_tools_of_a_jinja_that_are_not_proven_are_not_in_the_modelfile_and_one_note_says_so(
    tmp_path, capsys
):
    plain = (
        "{% for m in messages %}"
        "<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    path = tiny_run(tmp_path, max_steps=1, template=None, model={"template": plain})
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.count("note: Modelfile, not as in the model's own Jinja: tools:") == 1
    read = dict(read_modelfile((tmp_path / "out" / "export" / "Modelfile").read_text()))
    assert "<|im_start|>user" in read["TEMPLATE"]
    assert ".Tools" not in read["TEMPLATE"]


def test_under_a_jinja_that_cannot_be_read_one_note_says_why_there_is_no_modelfile(
    tmp_path, capsys
):
    odd = (
        "{% for m in messages %}<|im_start|>{{ m.role }}"
        "{% if loop.index == 3 %} again{% endif %}{{ '\\n' }}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    path = tiny_run(tmp_path, max_steps=1, template=None, model={"template": odd})
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.count("no Modelfile for Ollama") == 1
    assert "template: NAME" in said
    assert not (tmp_path / "out" / "export" / "Modelfile").exists()
    assert "ollama create" not in said


def test_an_architecture_that_ollama_does_not_read_is_said(tmp_path):
    assert for_ollama(tmp_path) == []
    (tmp_path / "Modelfile").touch()
    (tmp_path / "config.json").write_text('{"architectures": ["OddForCausalLM"]}')
    (line,) = for_ollama(tmp_path)
    assert "OddForCausalLM" in line
    assert "GGUF" in line


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client
def test_an_export_goes_to_the_hub_with_its_card_once_it_is_proved(tmp_path, capsys, monkeypatch):
    path = tiny_run(tmp_path, max_steps=1)
    assert main(["train", str(path)]) == 0
    asked = [str(path), "export_hub_model_id=me/mine", "hf_hub_token=hf_secret"]
    out = tmp_path / "out" / "export"
    with as_hub(monkeypatch, {}, tmp_path / "hub") as hub:
        hub.token = "hf_secret"
        monkeypatch.setattr("tunesmith.templates.jinja_to_serve", lambda *_: "{{ messages }}")
        assert main(["export", *asked]) != 0, "the gate is shut"
        assert hub.requests == []
        monkeypatch.undo()
    capsys.readouterr()
    with as_hub(monkeypatch, {}, tmp_path / "hub") as hub:
        hub.token = "hf_other"
        assert main(["export", *asked]) == 2
        said = capsys.readouterr()
        assert f"hf upload me/mine {out}" in said.err
        assert "largest |dlogit|" in said.out, "the export is told all the same"
        hub.token = "hf_secret"
        assert main(["export", *asked, "--json"]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["hub"] == f"{hub.url}/me/mine"
        there = hub.models["me/mine"]
        assert hub.private == {"me/mine"}
        assert main(["export", *asked, "export_hub_model_id=me/open", "hub_private_repo=no"]) == 0
        assert hub.private == {"me/mine"}
        there = hub.models["me/open"]
        told = capsys.readouterr()
    kept = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert there == {k: v for k, v in kept.items() if k != store.MANIFEST}
    assert b"tunesmith chat me/open" in there["README.md"]
    assert "hf_secret" not in said.err + said.out + told.err + told.out
    assert not any(b"hf_secret" in content for content in there.values())


def test_a_model_that_brings_its_own_code_is_exported_where_that_is_trusted(tmp_path, capsys):
    base = tiny_model(tmp_path)
    (base / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n\n\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    path = base / "config.json"
    said = json.loads(path.read_text()) | {"model_type": "own", "architectures": ["Own"]}
    said["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    path.write_text(json.dumps(said))
    line = ["export", str(base), "template=chatml", f"export_dir={tmp_path / 'out'}"]
    assert main(line) == 2
    assert "trust_remote_code" in capsys.readouterr().err
    assert main([*line, "trust_remote_code=true", "--json"]) == 0
    doors = json.loads(capsys.readouterr().out)["proof"]["doors"]
    assert [door["name"] for door in doors if door["equal"]] == [
        "tokenizer ids", "prompt ids", "chat template", "logits", "greedy answers",
    ]  # fmt: skip
