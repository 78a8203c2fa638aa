"""What answers is said in LLaMA-Factory's words."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


def test_names_of_the_field_are_taken():
    assert load(None, {"infer_backend": "hf"}).infer.infer_backend == "huggingface"
    assert load(None, {"infer_backend": "vllm"}).infer.infer_backend == "vllm"
    told = load(None, {"vllm_config": {"tensor_parallel_size": 2}}).infer.vllm_config
    assert told == {"tensor_parallel_size": 2}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("infer_backend", "sglang"), ("infer_dtype", "int8"), ("vllm_gpu_util", 1.5),
        ("vllm_max_lora_rank", 1024),
    ],
)  # fmt: skip
def test_others_are_refused_at_their_key(key, value):
    with pytest.raises(ConfigError) as caught:
        load(None, {key: value})
    assert caught.value.where == f"argument: {key}"
