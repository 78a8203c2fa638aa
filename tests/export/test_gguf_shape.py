"""A config that llama.cpp would compute otherwise is refused, and the key is named."""

import pytest
from transformers import AutoConfig

from tunesmith.errors import ModelError
from tunesmith.export import gguf_shape


def _config(kind="llama", **more):
    return AutoConfig.for_model(kind, **more).to_dict()


@pytest.mark.parametrize("kind", gguf_shape.FAMILIES)
def test_the_families_are_written_as_their_makers_made_them(kind):
    more = {"sliding_window": None} if kind == "mistral" else {}
    keys = gguf_shape.metadata(_config(kind, **more), "here")
    name = keys["general.architecture"]
    assert keys[f"{name}.block_count"] > 0
    assert all(key.startswith((name, "general")) for key in keys)


def test_another_family_is_refused_with_those_that_are_written():
    with pytest.raises(ModelError, match="model_type") as caught:
        gguf_shape.family(_config("gpt2"), "here")
    for kind in gguf_shape.FAMILIES:
        assert kind in caught.value.need


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("llama", "hidden_act", "gelu"),
        ("mistral", "sliding_window", 4096),
        ("qwen2", "use_sliding_window", True),
        ("gemma", "tie_word_embeddings", False),
        ("gemma2", "query_pre_attn_scalar", 144),
        ("gemma2", "hidden_activation", "gelu"),
        ("gemma3_text", "layer_types", ["full_attention"] * 26),
        ("gemma3_text", "attn_logit_softcapping", 50.0),
        ("gemma3_text", "use_bidirectional_attention", True),
    ],
)
def test_a_key_that_llama_cpp_computes_otherwise_is_named(kind, key, value):
    with pytest.raises(ModelError, match=key):
        gguf_shape.family(_config(kind) | {key: value}, "here")


def test_a_window_as_long_as_the_context_is_none():
    config = _config("mistral", sliding_window=4096, max_position_embeddings=4096)
    assert gguf_shape.family(config, "here")[0] == "llama"


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
        {"rope_type": "yarn", "factor": 4.0},
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "attention_factor": 1.5,
        },
        {"rope_type": "llama3", "factor": 4.0},
        {"rope_type": "default", "partial_rotary_factor": 0.5},
    ],
)
def test_positions_that_llama_cpp_turns_otherwise_are_refused(rope):
    config = _config() | {"rope_parameters": {"rope_theta": 1e4, **rope}}
    with pytest.raises(ModelError, match="rope_parameters"):
        gguf_shape.family(config, "here")


def test_the_largest_gemmas_divide_attention_by_their_width():
    layers = {"num_hidden_layers": 46, "hidden_size": 4608, "num_attention_heads": 32}
    config = _config("gemma2", query_pre_attn_scalar=144, **layers)
    assert gguf_shape.family(config, "here")[0] == "gemma2"
