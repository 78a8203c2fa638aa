"""A model in fewer bits: which layers, loaded one by one, learning as over its dense twin."""

import json
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from oracle import Adapter, distance, oracle
from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tunesmith.compute.quantized import Quantized
from tunesmith.config.model import Quantization
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models import adapters, quantize
from tunesmith.models.facts import facts
from tunesmith.models.load import load_model, read_config
from tunesmith.stages.sft import loss_of

NF4, FP4 = Quantization(4, "nf4", True), Quantization(4, "fp4", False)
INT8 = Quantization(8, "int8")


def load(directory, quantization=NF4, dtype=torch.float32):
    return load_model(directory, dtype=dtype, quantization=quantization)


@pytest.mark.parametrize("quantization", [NF4, FP4, INT8], ids=str)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "phi3"])
def test_linear_layers_are_quantised_and_nothing_else(tmp_path, kind, quantization):
    directory = tiny_model(tmp_path, kind, tied=False)
    plain, model = load(directory, None), load(directory, quantization)
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        for part, own in module.named_parameters(recurse=False):
            linear = isinstance(module, nn.Linear) and module is not head and part == "weight"
            assert isinstance(own, Quantized) == linear, (name, part)
            assert not (linear and own.requires_grad)
            dense = plain.get_submodule(name).get_parameter(part)
            if linear:
                assert 0 < (own.dense() - dense).norm() < 0.2 * dense.norm()
            else:
                assert torch.equal(own, dense)
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name))
    assert not hasattr(model.config, "quantization_config")


def test_the_model_computes_as_the_one_of_the_dense_weights(tmp_path):
    directory = tiny_model(tmp_path, "qwen2")
    plain, model = load(directory, None), load(directory)
    for name in quantize.names(model):
        dense = model.get_submodule(name).weight.dense()
        plain.get_submodule(name).weight.data.copy_(dense)
    ids = torch.arange(20, 60)[None]
    assert torch.equal(model(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("quantization", [NF4, FP4, INT8], ids=str)
def test_loss_and_gradients_are_the_oracles_over_the_dense_weights(tmp_path, quantization):
    directory = tiny_model(tmp_path, "qwen2")
    model = load(directory, quantization)
    adapters.attach(model, adapters.LoraSpec(4, 8), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapters.trainable(model).values():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    rows = random_examples((9, 23, 31, 5))
    loss = loss_of()(model.train(), batch_of(rows))
    (loss.total / loss.weight).backward()
    layers = {name: model.get_submodule(name) for name in adapters.attached(model)}
    truth = oracle(
        directory,
        rows,
        adapters={n: Adapter(m.lora_A, m.lora_B, m.scaling) for n, m in layers.items()},
        state={f"{n}.weight": m.weight.dense() for n, m in layers.items()},
    )
    assert abs((loss.total / loss.weight).item() - truth.loss) <= 1e-5 * truth.loss
    for name, parameter in adapters.trainable(model).items():
        assert distance(parameter.grad, truth.gradients[name]) <= 1e-5, name


def test_the_dense_model_never_exists(tmp_path, monkeypatch):
    """When a layer is quantised, the dense weights of those before it are gone."""
    alive, most, real = [], [], quantize.quantize

    def watched(dense, *rest, **keys):
        alive.append(weakref.ref(dense))
        most.append(sum(ref() is not None for ref in alive))
        return real(dense, *rest, **keys)

    monkeypatch.setattr(quantize, "quantize", watched)
    load(tiny_model(tmp_path, num_hidden_layers=6))
    assert len(most) == 6 * 7
    assert max(most) <= 2


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="no list of mapped files")
def test_the_file_is_let_go_of(tmp_path):
    directory = tiny_model(tmp_path)
    weights = str(directory / "model.safetensors")
    dense = load_model(directory, dtype=torch.float32)
    assert weights in Path("/proc/self/maps").read_text(), "the test would see nothing"
    del dense
    model = load(directory)
    mapped = Path("/proc/self/maps").read_text()
    assert weights not in mapped, "an embedding keeps all that is held in codes in memory"
    assert model.lm_head.weight.isfinite().all()


@pytest.mark.parametrize("quantization", [NF4, FP4, INT8], ids=str)
def test_the_estimate_of_memory_is_what_is_taken(tmp_path, quantization):
    wide = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    directory = tiny_model(tmp_path, **wide)
    taken = quantize.taken(load(directory, quantization, torch.bfloat16))
    known = facts(directory)
    largest = 256 * 512 * 2  # dense while it computes
    estimate = quantize.weight_bytes(known, quantization, element_bytes=2) - largest
    assert estimate == pytest.approx(taken, rel=0.03)
    assert taken < 0.75 * known.parameters * 2


def test_the_base_cannot_be_merged_into(tmp_path):
    model = load(tiny_model(tmp_path))
    adapters.attach(model, adapters.LoraSpec(4, 8), seed=0)
    with pytest.raises(ModelError, match="4 or 8 bits"):
        adapters.merge(model)


def test_modules_that_learn_in_full_are_not_quantised_ones(tmp_path):
    model = load(tiny_model(tmp_path), None)
    quantize.check(model, in_full=("embed_tokens", "norm"))
    for name in ("o_proj", "mlp", "layers.0"):
        with pytest.raises(ModelError, match="additional_target"):
            quantize.check(model, in_full=(name,))


def test_a_model_without_linear_layers_of_torch_is_refused(tmp_path):
    with pytest.raises(ModelError, match="quantization_bit"):
        quantize.names(load(tiny_model(tmp_path, "gpt2"), None))


@pytest.mark.parametrize(
    "stored",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "fp8"},
    ],
    ids=lambda stored: stored["quant_method"],
)
def test_a_model_that_is_quantised_already_is_one_clear_error(tmp_path, stored):
    directory = tiny_model(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "quantization_config": stored}))
    for call in (read_config, facts, load):
        with pytest.raises(ModelError, match="quantization_config") as caught:
            call(directory)
        assert stored["quant_method"] in caught.value.got
        assert "quantization_bit: 4" in caught.value.hint


def test_without_the_library_nothing_is_loaded(tmp_path, monkeypatch):
    directory = tiny_model(tmp_path)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="quantization_bit") as caught:
        load(directory)
    assert "tunesmith[bnb]" in caught.value.hint
