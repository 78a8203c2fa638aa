"""An adapter is exported alone, with what serving it needs."""

import json

import pytest
import torch

from tiny_export import adapter
from tiny_model import tiny_model
from tunesmith.errors import ConfigError
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.models import tokenizer as tokenizers


def test_the_adapter_says_over_its_base_what_it_said_in_training(tmp_path):
    base = tiny_model(tmp_path)
    directory = adapter(base, tmp_path / "a")
    serving = Serving(tokenizers.load(base), "{{ 1 }}")
    done = export(base, [directory], tmp_path / "out", serving=serving, format=["adapter"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    assert done.proof.reader.startswith("peft")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ 1 }}"
    assert "library_name: peft" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("count", [0, 2])
def test_none_or_several_are_no_adapter(tmp_path, count):
    base = tiny_model(tmp_path)
    paths = [adapter(base, tmp_path / str(i), seed=i) for i in range(count)]
    phases = []
    with pytest.raises(ConfigError, match="adapter"):
        export(
            base, paths, tmp_path / "out", serving=Serving(tokenizers.load(base)),
            format=["adapter"], progress=phases.append,
        )  # fmt: skip
    assert phases == []


def test_a_damaged_copy_is_found_and_nothing_is_left(tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    from tunesmith.errors import ModelError
    from tunesmith.export import adapter as exporting

    base = tiny_model(tmp_path)
    directory = adapter(base, tmp_path / "a")
    other = adapter(base, tmp_path / "b", seed=7)
    tensors = load_file(other / "adapter_model.safetensors")

    def damaged(source, target):
        target.write_bytes(source.read_bytes())
        if target.suffix == ".safetensors":
            save_file(tensors, target, metadata={"format": "pt"})

    monkeypatch.setattr(exporting.shutil, "copyfile", damaged)
    with pytest.raises(ModelError, match="logits"):
        export(
            base, [directory], tmp_path / "out",
            serving=Serving(tokenizers.load(base)), format=["adapter"],
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
    config = json.loads((directory / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert all(isinstance(t, torch.Tensor) for t in tensors.values())
