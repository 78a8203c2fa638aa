"""Families of models: adapters on all that is linear learn as the oracle says, or are refused."""

import pytest
import torch

from product_step import adapter_truth, assert_near, examples, moved, splits, step
from tiny_model import tiny_model
from tunesmith.compute import chance
from tunesmith.compute.fused import blocks
from tunesmith.errors import ModelError
from tunesmith.models import acting, adapters, load

_NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, **_NO_DROPOUT}
_FALCON = {"new_decoder_architecture": False, "multi_query": False, "bias": True}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

FAMILIES = {
    "falcon, new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, one key head": ("falcon", {**_FALCON, "multi_query": True, "bias": False}),
    "falcon, in sequence": ("falcon", {**_FALCON, "parallel_attn": False}),
    "falcon, alibi": ("falcon", {**_FALCON, "parallel_attn": False, "alibi": True}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox, in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 8}),
    "gpt_bigcode": ("gpt_bigcode", _GPT),
    "phi": ("phi", {}),
    "internlm": ("llama", {"attention_bias": True}),
    "olmo2": ("olmo2", {}),
    "cohere": ("cohere", {}),
    "cohere2": ("cohere2", {"sliding_window": 16}),
    "stablelm": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "granite": ("granite", {"logits_scaling": 8.0, "residual_multiplier": 0.22}),
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4, "hidden_dropout": 0.0}),
    "opt": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 32, "do_layer_norm_before": False,
                    "dropout": 0.0}),
    "starcoder2": ("starcoder2", {"sliding_window": 16, "residual_dropout": 0.0,
                                  "embedding_dropout": 0.0}),
    "glm4": ("glm4", {"head_dim": 16}),
    "mpt": ("mpt", {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1}),
}  # fmt: skip

UNEVEN = {
    "qwen2_moe": ("qwen2_moe", {**_MOE, "shared_expert_intermediate_size": 32}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16,
                            "sliding_window": 16}),
}  # fmt: skip
"""Families whose experts, several matrices to a tensor, would be left out."""


MAMBA = {"mamba": ("mamba", {"state_size": 8})}


def loaded(tmp_path, family, **keys):
    kind, own = (FAMILIES | UNEVEN | MAMBA)[family]
    directory = tiny_model(tmp_path, kind, tokenizer=False, **own)
    model = load.load_model(directory, dtype=torch.float32)
    adapters.attach(model, adapters.LoraSpec(4, 8, **keys), seed=0)
    acting.check(model, "config.json")
    blocks.fuse(model)
    return directory, moved(model).train()


def assert_learns(tmp_path, family, **keys):
    directory, model = loaded(tmp_path, family, **keys)
    rows = examples(7)
    # transformers' eager attention of falcon adds alibi twice
    attention = "sdpa" if "alibi" in family else "eager"
    truth = adapter_truth(directory, model, rows, attention=attention)
    batches = splits(rows)
    for name, recomputed in (("one batch", 0), ("some batches", 2)):
        chance.enable_checkpointing(model, recomputed)
        assert_near(step(model, batches[name]), truth)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_on_all_linear_layers_learn_as_the_oracle_says(tmp_path, family):
    assert_learns(tmp_path, family)


@pytest.mark.parametrize("family", UNEVEN)
def test_what_would_be_left_out_is_refused_and_the_layers_named_instead_learn(tmp_path, family):
    with pytest.raises(ModelError, match="would be left out") as caught:
        loaded(tmp_path, family)
    names = caught.value.hint.removeprefix("lora_target: ").split(",")
    assert_learns(tmp_path, family, target=tuple(names))


def test_a_model_whose_layers_are_of_a_kind_of_their_own_is_refused_with_what_works(tmp_path):
    model = load.load_model(tiny_model(tmp_path, "gpt2", tokenizer=False), dtype=torch.float32)
    for target in ("all", ("c_attn",)):
        with pytest.raises(ModelError, match="lora_target") as caught:
            adapters.attach(model, adapters.LoraSpec(target=target), seed=0)
        assert "Conv1D" in caught.value.need
        assert caught.value.hint == "finetuning_type: full or freeze, which need no adapter"


def test_a_model_that_takes_weights_past_their_adapters_is_refused_with_the_layers_that_learn(
    tmp_path,
):
    """Mamba multiplies by the weight of dt_proj itself (transformers 5.23)."""
    names = ("in_proj", "x_proj", "dt_proj", "out_proj")
    with pytest.raises(ModelError, match="lora_target") as caught:
        loaded(tmp_path, "mamba", target=names)
    assert caught.value.got == "dt_proj"
    assert caught.value.hint == "lora_target: in_proj,x_proj,out_proj"
    assert_learns(tmp_path, "mamba", target=("in_proj", "x_proj", "out_proj"))
