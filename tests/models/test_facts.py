"""The facts of the empty model are those of the loaded one."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from tiny_model import KINDS, tiny_model
from tunesmith.errors import ModelError
from tunesmith.models.facts import facts
from tunesmith.models.load import load_model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_counts_are_those_of_the_loaded_model(tmp_path, kind, tied):
    directory = tiny_model(tmp_path, kind, tied=tied)
    model, found = load_model(directory, dtype=torch.float32), facts(directory)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.tied is tied
    assert found.aside_parameters == 0
    assert (found.layers, found.hidden, found.vocab, found.context_length) == (2, 64, 512, 512)
    assert found.embedding_parameters == found.head_parameters == 512 * 64
    linear = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name != "lm_head"
    }
    assert set(found.linear_names) == {name.rpartition(".")[2] for name in linear}
    assert sum(group.modules for group in found.linear.values()) == len(linear)
    weights = load_file(directory / "model.safetensors")
    assert found.weight_bytes == sum(w.nbytes for w in weights.values())
    assert found.stored_dtype == "F32"


def test_names_shapes_and_counts_of_a_llama(tmp_path):
    found = facts(tiny_model(tmp_path))
    assert found.linear_names == (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    )  # fmt: skip
    assert found.linear["k_proj"] == (((64, 32),), 2, 2 * 64 * 32)
    assert (found.model_type, found.architecture) == ("llama", "LlamaForCausalLM")
    assert (found.heads, found.kv_heads, found.head_dim, found.intermediate) == (4, 2, 16, 96)


def test_biases_are_counted_and_conv1d_shapes_are_inputs_by_outputs(tmp_path):
    assert facts(tiny_model(tmp_path, "qwen2")).linear["k_proj"].parameters == 2 * (64 * 32 + 32)
    assert facts(tiny_model(tmp_path, "gpt2")).linear["c_fc"].shapes == ((64, 256),)


@pytest.mark.parametrize(
    ("kind", "keys", "window"),
    [
        ("llama", {}, None),
        ("mistral", {"sliding_window": 32}, 32),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": False}, None),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 1}, 32),
        ("gemma2", {}, 16),
    ],
)
def test_a_window_counts_only_where_a_layer_uses_it(tmp_path, kind, keys, window):
    assert facts(tiny_model(tmp_path, kind, tokenizer=False, **keys)).sliding_window == window


@pytest.mark.parametrize(
    ("kind", "keys", "state"),
    [
        ("llama", {}, False),
        ("gemma3_text", {}, False),
        ("mamba", {}, True),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, True),
        ("qwen3_next", {"layer_types": ["linear_attention", "full_attention"]}, True),
    ],
)
def test_layers_that_carry_state_are_flagged(tmp_path, kind, keys, state):
    from transformers import AutoConfig

    keys = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512} | keys
    AutoConfig.for_model(kind, **keys).save_pretrained(tmp_path)
    assert facts(tmp_path).carries_state is state


def test_a_config_without_weights_is_enough(tmp_path):
    directory = tiny_model(tmp_path, tokenizer=False)
    (directory / "model.safetensors").unlink()
    found = facts(directory)
    assert (found.weight_bytes, found.stored_dtype) == (None, None)
    assert found.parameters == 94528


def test_a_broken_weight_file_is_said_before_a_run(tmp_path):
    directory = tiny_model(tmp_path, tokenizer=False)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="cut off"):
        facts(directory)


def test_a_big_model_takes_no_memory(tmp_path):
    from transformers import AutoConfig

    AutoConfig.for_model("qwen2", hidden_size=8192, num_hidden_layers=80).save_pretrained(tmp_path)
    assert facts(tmp_path).parameters > 5e10
