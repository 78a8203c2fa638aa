"""`tunesmith upcycle`: what it prints, what it refuses, what it leaves behind."""

import json

import pytest
import yaml

from tiny_model import tiny_model
from tunesmith.cli.main import main


def upcycled(folder, *words, kind="llama", **keys):
    """The exit code of the command over a run file."""
    source = folder / "dense"
    if not source.exists():
        tiny_model(folder, kind, name="dense")
    path = folder / "moe.yaml"
    said = {"model_name_or_path": str(source), "output_dir": str(folder / "moe"), **keys}
    path.write_text(yaml.safe_dump(said))
    return main(["upcycle", str(path), *words])


def test_it_says_what_it_made_and_what_comes_next(tmp_path, capsys):
    assert upcycled(tmp_path, "num_experts=3", moe_layers="odd") == 0
    told = capsys.readouterr().out
    assert "layers     1 with 3 experts (1 to 1); a token goes through 2 of them" in told
    assert "train_modules: [experts, gate], moe_aux_loss_coef: 0.01" in told
    assert "the logits of the dense model, within" in told
    config = json.loads((tmp_path / "moe" / "config.json").read_text())
    assert (config["num_experts"], config["mlp_only_layers"]) == (3, [0])


def test_as_json_and_with_layers_by_number(tmp_path, capsys):
    assert upcycled(tmp_path, "--json", "moe_layers=0,1", "moe_aux_loss_coef=0.05") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["layers"], said["twin"], said["experts"]) == ([0, 1], "mixtral", 4)
    config = json.loads((tmp_path / "moe" / "config.json").read_text())
    assert config["router_aux_loss_coef"] == 0.05


@pytest.mark.parametrize(
    ("words", "keys", "said"),
    [
        (("moe_layers=0,7",), {}, "command line: moe_layers"),
        ((), {"moe_layers": [5]}, "moe.yaml:"),
        (("moe_layers=some",), {}, "moe_layers"),
        (("num_experts_per_tok=9",), {}, "2 to num_experts"),
        (("num_experts=1",), {}, "num_experts"),
        (("num_experts_per_tok=1",), {}, "num_experts_per_tok"),
        (("output_dir=",), {}, "output_dir"),
    ],
)
def test_what_cannot_be_is_one_error_and_leaves_nothing(tmp_path, capsys, words, keys, said):
    assert upcycled(tmp_path, *words, **keys) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("error:") == 1
    assert not (tmp_path / "moe").exists()


def test_a_family_without_a_twin_is_refused_and_an_old_directory_stays(tmp_path, capsys):
    old = tmp_path / "moe"
    old.mkdir()
    (old / "mine").write_text("kept")
    assert upcycled(tmp_path, kind="gemma") == 2
    assert "a directory that is there" in capsys.readouterr().err
    assert upcycled(tmp_path, "overwrite_output_dir=true", kind="gemma") == 2
    assert "llama, mistral, qwen2, qwen3, granite" in capsys.readouterr().err
    assert (old / "mine").read_text() == "kept"
