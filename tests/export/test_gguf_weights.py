"""A GGUF file holds the model that was written: read back, it is the same weights and ids."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tiny_export import FAMILIES, family, written
from tiny_gguf import tiny_gguf
from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.export import gguf_weights
from tunesmith.models import gguf as reading
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model

IDS = torch.tensor([[5, 20, 31, 7, 44, 101, 9] * 6])


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


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_tensors_and_keys_are_those_that_a_converter_of_its_own_writes(tmp_path, kind):
    from gguf import GGUFReader

    source = tiny_model(tmp_path, kind)
    ours = GGUFReader(written(source, tmp_path / "a.gguf"))
    theirs = GGUFReader(tiny_gguf(source, tmp_path / "b.gguf"))
    stored = {tensor.name: np.asarray(tensor.data) for tensor in ours.tensors}
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(stored.pop(tensor.name), np.asarray(tensor.data))
    assert not stored
    said = {key: field.contents() for key, field in ours.fields.items()}
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            assert said[key] == field.contents(), key
