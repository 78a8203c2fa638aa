"""Every example run file does what its head says, with the model swapped for a tiny one."""

import io
import json
import re
import sys
from pathlib import Path

import pytest

from tiny_model import tiny_model
from tunesmith.cli.main import main
from tunesmith.config.load import load

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
TRAINING = [path for path in EXAMPLES if load(path).train.do_train]
SERVING = [path for path in EXAMPLES if path not in TRAINING]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base"), "qwen2")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base):
    """What `examples/lora_sft.yaml` leaves behind."""
    directory = tmp_path_factory.mktemp("adapter") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert main(["train", "examples/lora_sft.yaml", *_small(base, directory)]) == 0
    return directory


def _small(base, out):
    keys = {
        "model_name_or_path": base,
        "output_dir": out,
        "template": "chatml",
        "max_samples": 20,
        "max_steps": 2,
        "bf16": "false",
        "overwrite_output_dir": "false",
    }
    return [f"{key}={value}" for key, value in keys.items()]


def _ids(paths):
    return {"argvalues": paths, "ids": [path.name for path in paths]}


@pytest.mark.parametrize("path", **_ids(EXAMPLES))
def test_the_head_names_commands_that_exist_with_the_files_own_name(path):
    head = path.read_text(encoding="utf8").split("\n###")[0]
    commands = re.findall(r"tunesmith (\w+) +(\S+)", head)
    assert commands
    assert {verb for verb, _ in commands} <= {"plan", "train", "chat", "eval", "export"}
    assert any(target == f"examples/{path.name}" for _, target in commands)
    for _, target in commands:
        assert (ROOT / target).exists() or target.startswith("runs/")


@pytest.mark.parametrize("path", **_ids([p for p in TRAINING if "continue" not in p.name]))
def test_training_runs_and_leaves_a_result(path, base, tmp_path):
    assert main(["train", f"examples/{path.name}", *_small(base, tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "all_results.json").read_text(encoding="utf8"))
    assert results["train_loss"] > 0
    assert results["eval_loss"] > 0
    assert (tmp_path / "out" / "training_loss.png").exists()


def test_an_adapter_is_trained_further(base, adapter, tmp_path):
    keys = [*_small(base, tmp_path / "out"), f"adapter_name_or_path={adapter}"]
    assert main(["train", "examples/continue_adapter.yaml", *keys]) == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_an_adapter_is_merged_and_proved(base, adapter, tmp_path):
    keys = [
        f"model_name_or_path={base}",
        f"adapter_name_or_path={adapter}",
        f"export_dir={tmp_path / 'merged'}",
        "template=chatml",
    ]
    assert main(["export", "examples/merge.yaml", *keys]) == 0
    assert (tmp_path / "merged" / "model.safetensors").exists()


def test_a_model_with_an_adapter_answers_in_a_pipe(base, adapter, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who are you?\nexit\n"))
    keys = [
        f"model_name_or_path={base}",
        f"adapter_name_or_path={adapter}",
        "template=chatml",
        "max_new_tokens=5",
    ]
    assert main(["chat", "examples/chat.yaml", *keys]) == 0
    assert capsys.readouterr().out.strip()


def test_the_table_names_every_example():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf8")
    assert set(re.findall(r"`(\w+\.yaml)`", text)) == {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", **_ids(SERVING))
def test_files_for_serving_name_nothing_about_training(path):
    assert not {"dataset", "learning_rate", "output_dir"} & set(load(path).asked)
