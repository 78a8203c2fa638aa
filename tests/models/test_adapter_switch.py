"""An adapter at work answers as it does alone, and the base stays what it was."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.compute import attention
from tunesmith.errors import ModelError
from tunesmith.models import adapters
from tunesmith.models.adapter_switch import load_aside
from tunesmith.models.adapters import LoraSpec

IDS = torch.arange(5, 29)[None]
SPECS = {
    "plain": LoraSpec(4, 8),
    "dora": LoraSpec(4, 8, dora=True),
    "pissa": LoraSpec(4, 8, pissa=-1),
    "some": LoraSpec(2, 7, target=("q_proj", "down_proj")),
    "head": LoraSpec(2, 7, target=("lm_head",)),
    "in full": LoraSpec(4, 8, target=("o_proj",), additional_target=("embed_tokens",)),
    "rows": LoraSpec(2, 4, token_ids=(6, 20)),
}


def load(directory):
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=torch.float32
    ).eval()


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@torch.no_grad()
def learned(directory, out, spec, seed):
    """The files of an adapter that has learned something."""
    model = load(directory)
    adapters.attach(model, spec, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    for parameter in adapters.trainable(model).values():
        parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    out.mkdir()
    adapters.save_adapter(model, out, "the/base")
    return out


@pytest.mark.parametrize("tied", [True, False])
def test_each_answers_as_alone_to_the_last_bit_in_any_order(tmp_path, tied):
    directory = tiny_model(tmp_path / "base", tokenizer=False, tied=tied)
    paths = {
        key: learned(directory, tmp_path / key, spec, seed)
        for seed, (key, spec) in enumerate(SPECS.items())
    }
    alone = {}
    for key, path in paths.items():
        model = load(directory)
        adapters.load_adapter(model, path, trainable=False)
        alone[key] = logits(model)
    base = logits(load(directory))
    model = load(directory)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    asides = {key: load_aside(model, path, dtype=torch.float32) for key, path in paths.items()}
    for key in (*SPECS, *reversed(SPECS)):
        with asides[key].at_work():
            assert torch.equal(logits(model), alone[key]), key
        assert torch.equal(logits(model), base), key
        assert not torch.equal(alone[key], base)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(p.requires_grad for p in model.parameters())


def test_weights_are_shared_and_what_is_in_full_has_the_dtype_asked_for(tmp_path):
    directory = tiny_model(tmp_path / "base", tokenizer=False)
    path = learned(directory, tmp_path / "a", SPECS["in full"], 1)
    model = load(directory).to(torch.bfloat16)
    aside = load_aside(model, path, dtype=torch.bfloat16)
    o_proj = "model.layers.0.self_attn.o_proj"
    assert aside.modules[o_proj].weight is model.get_submodule(o_proj).weight
    assert aside.modules["model.embed_tokens"].weight.dtype == torch.bfloat16
    assert aside.modules[o_proj].lora_A.dtype == torch.float32
    with aside.at_work():
        assert model.get_input_embeddings() is aside.modules["model.embed_tokens"]


def test_the_base_is_back_after_an_error_under_way_and_one_in_loading(tmp_path):
    directory = tiny_model(tmp_path / "base", tokenizer=False)
    good = learned(directory, tmp_path / "good", SPECS["in full"], 1)
    model = load(directory)
    base = logits(model)
    aside = load_aside(model, good, dtype=torch.float32)
    with pytest.raises(ZeroDivisionError), aside.at_work():
        raise ZeroDivisionError
    assert torch.equal(logits(model), base)
    bad = learned(directory, tmp_path / "bad", SPECS["in full"], 2)
    tensors = load_file(bad / "adapter_model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, bad / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="bad"):
        load_aside(model, bad, dtype=torch.float32)
    assert torch.equal(logits(model), base)
    assert adapters.attached(model) == []


def test_what_cannot_stand_beside_others_is_refused(tmp_path):
    directory = tiny_model(tmp_path / "base", tokenizer=False)
    path = learned(directory, tmp_path / "a", SPECS["plain"], 1)
    model = load(directory)
    adapters.load_adapter(model, path, trainable=False)
    with pytest.raises(ModelError, match="the base alone"):
        load_aside(model, path, dtype=torch.float32)
    rows = load(directory).get_input_embeddings().weight.shape[0]
    more = learned(directory, tmp_path / "more", SPECS["rows"], 1)
    config = json.loads((more / "adapter_config.json").read_text())
    config["trainable_token_indices"] = {"embed_tokens": [6, rows]}
    (more / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"token {rows}"):
        load_aside(load(directory), more, dtype=torch.float32)
