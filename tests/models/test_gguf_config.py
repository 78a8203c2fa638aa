"""The config of a GGUF file is whole, or the key that has no place is named."""

import json

import numpy as np
import pytest
import torch

from tiny_gguf import tiny_gguf
from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.models import gguf, gguf_config


def _config(tmp_path, kind="llama", *, overrides=None, **keys):
    source = tiny_model(tmp_path, kind, **(overrides or {}))
    made = gguf.convert(tiny_gguf(source, tmp_path / "m.gguf", **keys))
    return json.loads((made / "config.json").read_text())


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_config_describes_the_model_that_went_in(tmp_path, kind):
    from transformers import AutoConfig

    got = _config(tmp_path, kind)
    before = AutoConfig.from_pretrained(tmp_path / kind).to_dict()
    different = {key for key in got if key in before and got[key] != before[key]}
    assert different <= {"dtype", "rope_theta"}
    assert got["rms_norm_eps"] == 1e-06  # and not 9.999999974752427e-07


def test_linear_scaling_is_kept(tmp_path):
    more = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    rope = _config(tmp_path, more=more)["rope_parameters"]
    assert rope == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def test_the_factors_of_llama3_are_those_of_transformers(tmp_path):
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    keys = {"hidden_size": 512, "num_attention_heads": 4, "rope_parameters": rope}
    config = AutoConfig.for_model("llama", **keys)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 500000.0 ** -(torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    ours = gguf_config.llama3_factors(
        500000.0, 128, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, context=8192
    )
    np.testing.assert_allclose(ours, (plain / scaled.double()).numpy(), rtol=1e-5)


def test_llama3_scaling_is_found_again_in_the_factors_that_the_file_holds(tmp_path):
    factors = gguf_config.llama3_factors(
        10000.0, 16, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, context=8192
    )
    overrides = {"hidden_size": 64}
    rope = _config(tmp_path, overrides=overrides, tensors={"rope_freqs.weight": factors})
    assert rope["rope_parameters"]["rope_type"] == "llama3"
    assert rope["rope_parameters"]["factor"] == float(factors.max())


def test_factors_of_no_known_scaling_are_refused(tmp_path):
    factors = np.linspace(1, 3, 8, dtype=np.float32)
    with pytest.raises(ModelError, match=r"rope_freqs\.weight"):
        _config(tmp_path, tensors={"rope_freqs.weight": factors})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.rope.scaling.type", "yarn"),
        ("llama.expert_count", 8),
        ("llama.attention.sliding_window", 4096),
        ("llama.logit_scale", 0.5),
        ("llama.rope.dimension_count", 8),
    ],
)
def test_a_key_that_changes_the_computation_is_never_dropped(tmp_path, key, value):
    with pytest.raises(ModelError, match=key.removeprefix("llama.")):
        _config(tmp_path, more={key: value})


@pytest.mark.parametrize("key", ["llama.block_count", "llama.attention.layer_norm_rms_epsilon"])
def test_a_missing_shape_is_named(tmp_path, key):
    with pytest.raises(ModelError, match=key):
        _config(tmp_path, without=(key,))
