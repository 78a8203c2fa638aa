"""A GGUF file holds the model that was written: read back, it is the same weights and ids."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.export import gguf_vocabulary, gguf_weights
from tunesmith.models import gguf as reading
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model

IDS = torch.tensor([[5, 20, 31, 7, 44, 101, 9] * 6])
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
NEAR = {"rope_type": "default", "rope_theta": 10000.0}
FAMILIES = {
    "llama": ("llama", {}),
    "llama, head of its own": ("llama", {"tied": False}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 32}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}),
    "mistral": ("mistral", {"head_dim": 32}),
    "qwen2": ("qwen2", {"tied": False}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "gemma": ("gemma", {"head_dim": 32}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 16, "num_hidden_layers": 3}),
    "gemma3": ("gemma3_text", {"query_pre_attn_scalar": 16, "num_hidden_layers": 7}),
    "gemma3, linear": (
        "gemma3_text",
        {
            "query_pre_attn_scalar": 16,
            "num_hidden_layers": 7,
            "rope_parameters": {"full_attention": LINEAR, "sliding_attention": NEAR},
        },
    ),
}


def family(tmp_path, name):
    """A tiny model of an entry of `FAMILIES`, whose window is shorter than the test's text."""
    kind, more = FAMILIES[name]
    return tiny_model(tmp_path, kind, **more)


def written(directory, path, kind="f32", **more):
    """The file of a model directory."""
    model = load_model(directory, dtype=torch.float32)
    tokenizer = tokenizers.load(directory)
    words = gguf_vocabulary.vocabulary(
        tokenizer, rows=model.config.vocab_size, **({"chat_template": None} | more)
    )
    gguf_weights.write(
        path, model, kind=kind, vocabulary=words.keys, name="tiny", where=str(directory)
    )
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_read_back_is_the_model_that_was_written(tmp_path, name):
    source = family(tmp_path, name)
    back = reading.convert(written(source, tmp_path / "m.gguf"))
    before, after = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (source, back)
    )
    got = after.state_dict()
    for key, weights in before.state_dict().items():
        torch.testing.assert_close(got[key], weights, rtol=0, atol=3e-7)  # norms: 1 was added
    with torch.no_grad():
        torch.testing.assert_close(after(IDS).logits, before(IDS).logits, rtol=1e-5, atol=2e-5)
    same = tokenizers.compare(
        tokenizers.load(source).backend, tokenizers.load(back).backend, tokenizers.PROBE
    )
    assert same == []


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_a_type_of_fewer_bits_rounds_matrices_and_nothing_else(tmp_path, kind):
    source = tiny_model(tmp_path)
    back = reading.convert(written(source, tmp_path / "m.gguf", kind))
    before, after = (load_file(path / "model.safetensors") for path in (source, back))
    for name, weights in before.items():
        got = after[name]
        if weights.ndim == 1:
            assert torch.equal(got, weights)
            continue
        if kind == "q8_0":  # half a step, and the step itself is held in f16
            blocks = weights.reshape(-1, 32)
            step = blocks.abs().amax(1, keepdim=True) / 127
            assert (got.reshape(-1, 32) - blocks).abs().le(step * (0.5 + 127 * 2**-11) + 1e-7).all()
            assert not torch.equal(got, weights)
        else:
            rounded = weights.to(getattr(torch, {"f16": "float16", "bf16": "bfloat16"}[kind]))
            assert torch.equal(got, rounded.float())


def test_rows_that_no_block_divides_stay_in_f16(tmp_path):
    source = tiny_model(tmp_path, hidden_size=48, intermediate_size=80)
    back = reading.convert(written(source, tmp_path / "m.gguf", "q8_0"))
    before, after = (load_file(path / "model.safetensors") for path in (source, back))
    for name, weights in before.items():
        if weights.ndim == 2:
            assert torch.equal(after[name], weights.half().float())


def test_a_weight_that_f16_cannot_hold_is_named(tmp_path):
    source = tiny_model(tmp_path)
    model = load_model(source, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = 1e5
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_up\.weight") as caught:
        gguf_weights.write(
            tmp_path / "m.gguf", model, kind="f16", vocabulary={}, name="x", where=str(source)
        )
    assert "gguf-bf16" in caught.value.hint


def test_a_weight_without_a_place_is_named(tmp_path):
    source = tiny_model(tmp_path)
    model = load_model(source, dtype=torch.float32)
    model.model.layers[0].extra = torch.nn.Linear(4, 4)
    with pytest.raises(ModelError, match=r"layers\.0\.extra"):
        gguf_weights.write(
            tmp_path / "m.gguf", model, kind="f16", vocabulary={}, name="x", where=str(source)
        )


def test_the_chat_template_and_the_ends_of_answers_go_along(tmp_path):
    source = tiny_model(tmp_path)
    stops = ("<|im_end|>", "<|endoftext|>", "</think>")
    path = written(source, tmp_path / "m.gguf", chat_template="{{ messages }}", stops=stops)
    back = reading.convert(path)
    assert (back / "chat_template.jinja").read_text() == "{{ messages }}"
    tokenizer = tokenizers.load(back)
    ends = json.loads((back / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [tokenizer.id_of(stop) for stop in stops]
    assert tokenizer.pad == "<|endoftext|>"


def test_the_values_are_those_of_ggufs_own_reader(tmp_path):
    from gguf import GGUFReader

    source = tiny_model(tmp_path, "gemma2", query_pre_attn_scalar=16)
    reader = GGUFReader(written(source, tmp_path / "m.gguf"))
    stored = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    weights = load_file(source / "model.safetensors")
    norm = weights["model.layers.1.pre_feedforward_layernorm.weight"].numpy()
    np.testing.assert_array_equal(stored["blk.1.ffn_norm.weight"], norm + np.float32(1))
    assert "output.weight" not in stored
    said = {key: field.contents() for key, field in reader.fields.items()}
    assert said["gemma2.attention.sliding_window"] == 16
    assert said["gemma2.attn_logit_softcapping"] == 50
