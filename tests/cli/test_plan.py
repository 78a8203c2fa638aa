"""`tunesmith plan` says what will be and touches nothing."""

import json
import re
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tiny_run import tiny_run
from tunesmith.cli.main import main
from tunesmith.training import devices
from tunesmith.training.devices import names


def test_the_block_of_the_tutorial_is_printed(tmp_path, capsys):
    path = tiny_run(tmp_path, val_size=0.25)
    assert main(["plan", str(path)]) == 0
    out = capsys.readouterr().out
    for word in ("9 to train on, 3 held out", "epochs", "batch per device", "total batch",
                 "accumulation", "steps", "linear modules", "attention", "recompute",
                 "precision", "trainable%", "q_proj"):  # fmt: skip
        assert word in out
    assert not (tmp_path / "out").exists()


def test_weights_are_not_read(tmp_path, capsys):
    """Weights of the right shapes but the wrong size would not load; the plan does not care."""
    path = tiny_run(tmp_path)
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    save_file({k: v[:1].clone() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
    assert main(["plan", str(path)]) == 0
    assert main(["train", str(path)]) == 2


def test_json(tmp_path, capsys):
    path = tiny_run(tmp_path)
    assert main(["plan", str(path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["train_examples"] == 12
    assert plan["identity"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_plan_that_does_not_fit_is_printed_and_ends_with_what_would_help(
    tmp_path, capsys, monkeypatch, flags
):
    path = tiny_run(tmp_path)
    device = next(d for d in devices.DEVICES if d.name == "4090")
    small = device._replace(memory=601 << 20)
    monkeypatch.setattr(devices, "DEVICES", (small,))
    assert main(["plan", str(path), "--device", "4090", *flags]) == 2
    out, err = capsys.readouterr()
    if flags:
        told = json.loads(out)
        assert told["train_examples"] == 12
        err = "try " + " ".join(map(str, told["refused"].values()))
    else:
        assert "linear modules" in out
        assert "may be killed" not in out  # it is refused
    for word in ("the longest example alone", "GiB, which are free", "try"):
        assert word in err
    assert not (tmp_path / "out").exists()


def test_something_is_said_before_anything_is_read(tmp_path, capsys):
    path = tiny_run(tmp_path, model_name_or_path=str(tmp_path / "nothing"))
    assert main(["plan", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"reading {tmp_path / 'nothing'} and tiny …\n")


def test_the_forecast_in_json_has_the_keys_of_the_page(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf8")
    path = tiny_run(tmp_path)
    assert main(["plan", str(path), "--json", "price_per_hour=2"]) == 0
    found = json.loads(capsys.readouterr().out)["forecast"]
    listed = page.split("## JSON")[1]
    named = set(re.findall(r"`(\w+)`", listed))
    parts = [part for part in found.values() if isinstance(part, dict)]
    parts += [part for part in found["pace"].values() if isinstance(part, dict)]
    inner = {key for part in parts for key in part}
    assert named - {"forecast"} == set(found) | inner
    numbers = [v for part in parts[-2:] for v in part.values()]
    assert all(isinstance(value, int | float) for value in numbers)
    assert all(isinstance(value, int | float) for value in found["disk"].values())


def test_the_page_lists_the_devices(capsys, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf8")
    assert main(["plan", str(tiny_run(tmp_path)), "--device", "h20"]) == 2
    said = capsys.readouterr().err
    listed = page.split("## Devices")[1].split("## ")[0]
    for name in names():
        assert f"`{name}`" in listed
        assert name in said


TUTORIALS = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584,
    "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
}  # fmt: skip
"""Facts of deepseek-ai/DeepSeek-R1-Distill-Qwen-7B: shapes of its config.json."""


def test_the_tutorials_model_is_planned_from_its_config_alone(tmp_path, capsys):
    path = tiny_run(tmp_path, lora_rank=8)
    directory = tmp_path / "model"
    (directory / "model.safetensors").unlink()
    config = json.loads((directory / "config.json").read_text())
    ids = {key: value for key, value in config.items() if key.endswith("token_id")}
    (directory / "config.json").write_text(json.dumps({**TUTORIALS, **ids}))
    assert main(["plan", str(path), "--device", "h200"]) == 0
    said = capsys.readouterr().out
    assert "20,185,088 || all: 7,635,801,600 || trainable%: 0.2643" in said
    assert "the weights are not there yet" in said


def test_an_unknown_device_is_told_before_anything_is_read(tmp_path, capsys):
    path = tiny_run(tmp_path)
    (tmp_path / "data" / "tiny.json").write_text("not read")
    assert main(["plan", str(path), "--device", "h2000"]) == 2
    assert "--device h200" in capsys.readouterr().err
    assert main(["plan", str(path), "--device", ""]) == 2
    assert "--device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "keys", "said"),
    [
        ("4090", ["flash_attn=fa2"], None),
        ("v100", ["flash_attn=fa2", "bf16=true"], "compute capability 8.0 or more; this is 7.0"),
        ("4090", ["flash_attn=fa3"], "compute capability 9.0; this is 8.9"),
        ("h100", ["flash_attn=fa3"], None),
        ("h100", ["quantization_bit=8", "quantization_method=fp8"], None),
        ("a100", ["quantization_bit=8", "quantization_method=fp8"], "A100 SXM 80 GB"),
        ("4090", ["quantization_bit=4"], None),
    ],
)
def test_what_another_device_has_is_asked_of_it_and_not_of_this_machine(
    tmp_path, capsys, monkeypatch, device, keys, said
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    path = tiny_run(tmp_path, bf16=None)
    assert main(["plan", str(path), "--device", device, *keys]) == (2 if said else 0)
    shown = capsys.readouterr().err
    assert (said or "") in shown
    assert "Traceback" not in shown


def test_each_device_has_its_compute_capability():
    for device in devices.DEVICES:
        assert (device.capability >= (8, 0)) == (device.bf16 is not None)
        assert (device.capability >= (8, 9)) == (device.fp8 is not None)
