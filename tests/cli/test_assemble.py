"""`tunesmith assemble`: from two directories to a model that is trained and asked."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from seeing_run import STAGE_1, rows, seeing_run
from tiny_model import tiny_model
from tiny_tower import tiny_tower
from tunesmith.cli.main import main


@pytest.fixture
def path(tmp_path):
    """A run file that names two parts."""
    said = {
        "model_name_or_path": str(tiny_model(tmp_path)), "template": "chatml",
        "vision_tower": str(tiny_tower(tmp_path)), "output_dir": str(tmp_path / "vlm"),
    }  # fmt: skip
    (tmp_path / "vlm.yaml").write_text(yaml.safe_dump(said))
    return tmp_path / "vlm.yaml"


def test_what_is_assembled_is_trained(path, tmp_path, capsys):
    assert main(["assemble", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] <= 1e-5
    run = seeing_run(tmp_path / "run", model=told["directory"], **STAGE_1)
    assert main(["train", str(run)]) == 0
    assert rows(tmp_path / "run")
    out = capsys.readouterr().out
    assert "6,272 || all: 121,216" in out or "trainable" in out


def test_of_a_linear_projector_one_matrix_learns(path, tmp_path, capsys):
    assert main(["assemble", str(path), "mm_projector_type=linear", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    keys = {**STAGE_1, "train_modules": ["linear_1"], "num_train_epochs": 1}
    run = seeing_run(tmp_path / "run", model=told["directory"], **keys)
    assert main(["train", str(run)]) == 0
    before, after = (
        load_file(next(Path(folder).glob("*.safetensors")))
        for folder in (told["directory"], tmp_path / "run" / "out")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"multi_modal_projector.linear_1.{what}" for what in ("weight", "bias")}
    assert torch.equal(after["multi_modal_projector.linear_2.weight"], torch.eye(64))


def test_a_resampler_is_trained_and_answers(path, tmp_path, capsys):
    tower = f"vision_tower={tiny_tower(tmp_path, 'siglip')}"
    keys = ("mm_projector_type=resampler", "num_queries=4", tower)
    assert main(["assemble", str(path), *keys, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["patches"], told["strategy"]) == (4, "resampler")
    run = seeing_run(tmp_path / "run", model=told["directory"], **STAGE_1)
    assert main(["train", str(run)]) == 0
    log = (tmp_path / "run/out/trainer_log.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, log) if "loss" in row]
    assert losses[-1] < losses[0]
    before, after = (
        load_file(next(Path(folder).glob("*.safetensors")))
        for folder in (told["directory"], tmp_path / "run" / "out")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "connector" in name}
    keys = ["eval_dataset=pictures", "max_new_tokens=2", "do_sample=false", "--json"]
    capsys.readouterr()
    assert main(["predict", str(run), *keys]) == 0
    assert json.loads(capsys.readouterr().out)["predict_samples"] == 9


def test_it_says_what_it_is(path, capsys):
    assert main(["assemble", str(path)]) == 0
    out = capsys.readouterr().out
    assert "pictures   16 tokens each (default)" in out
    assert float(out.split("within ")[1].split()[0]) <= 1e-5
    assert main(["assemble", str(path)]) == 2
    assert "a directory that is there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("vision_tower=nowhere", "nowhere"),
        ("mm_projector_type=qformer", "BLIP-2"),
        ("mm_projector_type=identity", "from 32 numbers at a position to 64"),
        ("mm_vision_select_layer=-9", "hidden states"),
        ("template=nonsense", "nonsense"),
        ("template=null", "brings none"),
    ],
)
def test_what_cannot_be_joined_leaves_nothing(path, tmp_path, capsys, override, said):
    assert main(["assemble", str(path), override]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "vlm").exists()
    assert not [p for p in tmp_path.iterdir() if "tmp" in p.name]
