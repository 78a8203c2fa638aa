import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.models import adapter_spec, adapters
from tunesmith.models.adapter_spec import LoraSpec


def load(tmp_path, kind="llama", **keys):
    directory = tiny_model(tmp_path, kind, tokenizer=False, **keys)
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def test_a_name_means_layers_whose_path_ends_in_it(tmp_path):
    model = load(tmp_path)
    ends = adapter_spec.targets(model, ("q_proj", "layers.1.mlp.up_proj"))
    assert ends == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ]
    with pytest.raises(ModelError, match="lora_target"):
        adapter_spec.targets(model, ("_proj",))  # no part of a name


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ModelError) as caught:
        adapter_spec.targets(load(tmp_path), ("q_proj", "querry"))
    assert caught.value.got == "querry"
    assert "q_proj" in caught.value.need
    assert "gate_proj" in caught.value.need


def test_a_layer_that_is_not_linear_is_refused_with_its_type(tmp_path):
    with pytest.raises(ModelError) as caught:
        adapter_spec.targets(load(tmp_path, "gpt2"), ("c_attn",))
    assert "Conv1D" in caught.value.need
    with pytest.raises(ModelError) as caught:
        adapter_spec.targets(load(tmp_path, "gpt2", name="again"), "all")
    assert "Conv1D" in caught.value.need


def test_a_linear_layer_that_computes_something_of_its_own_is_refused(tmp_path):
    class Alike(nn.Linear):
        def forward(self, x):
            return x @ self.weight.T

    class Louder(nn.Linear):
        def forward(self, x):
            return 1.01 * super().forward(x)

    model = load(tmp_path)
    for kind in (Alike, Louder):
        model.model.layers[1].mlp.up_proj.__class__ = kind
        if kind is Alike:
            assert len(adapter_spec.targets(model, "all")) == 14
            continue
        for target in ("all", ("up_proj",), r".*up_proj"):
            with pytest.raises(ModelError, match="lora_target") as caught:
                adapter_spec.targets(model, target)
            assert caught.value.got == "model.layers.1.mlp.up_proj"
            assert "Louder" in caught.value.need


def test_experts_that_would_be_left_out_are_told(tmp_path):
    model = load(tmp_path, "mixtral", num_local_experts=4, num_experts_per_tok=2)
    with pytest.raises(ModelError, match="lora_target") as caught:
        adapter_spec.targets(model, "all")
    assert "experts" in caught.value.need
    assert len(adapter_spec.targets(model, ("q_proj", "o_proj"))) == 4


def test_the_config_names_layers_by_their_ends_where_that_is_exact(tmp_path):
    model = load(tmp_path)
    adapters.attach(model, LoraSpec(4, 8), seed=0)
    config = adapter_spec.config_of(model, LoraSpec(4, 8), [], base_name="b")
    assert config["target_modules"] == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    model = load(tmp_path, name="one")
    spec = LoraSpec(4, 8, target=("layers.1.mlp.up_proj",))
    adapters.attach(model, spec, seed=0)
    config = adapter_spec.config_of(model, spec, [], base_name="b")
    assert config["target_modules"] == ["model.layers.1.mlp.up_proj"]


def test_a_config_says_what_the_spec_says(tmp_path):
    model = load(tmp_path)
    spec = LoraSpec(4, 10, 0.1, ("q_proj",), rslora=True, additional_target=("lm_head",), dora=True)
    adapters.attach(model, spec, seed=0)
    config = adapter_spec.config_of(model, spec, ["lm_head"], base_name="b")
    assert adapter_spec.spec_of(config, tmp_path) == spec
    assert config["base_model_name_or_path"] == "b"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "IA3"),
        ("init_lora_weights", "pissa_niter_16"),
        ("bias", "all"),
        ("rank_pattern", {"q_proj": 2}),
        ("layers_to_transform", [0]),
        ("fan_in_fan_out", True),
    ],
)
def test_what_is_not_computed_here_is_refused_by_name(tmp_path, key, value):
    model = load(tmp_path)
    adapters.attach(model, LoraSpec(4, 8), seed=0)
    config = adapter_spec.config_of(model, LoraSpec(4, 8), [], base_name="b") | {key: value}
    with pytest.raises(ModelError, match=key) as caught:
        adapter_spec.spec_of(config, tmp_path / "adapter_config.json")
    assert caught.value.got == value


PLAIN = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", "4"), ("r", 0), ("r", None), ("lora_alpha", "8"), ("lora_alpha", None),
        ("target_modules", None), ("target_modules", 3), ("target_modules", [1]),
        ("target_modules", []), ("target_modules", "((("), ("modules_to_save", 5),
        ("lora_dropout", "x"), ("lora_dropout", 2), ("use_rslora", "yes"), ("use_dora", 1),
        ("trainable_token_indices", {"embed": 5}),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused_by_name(tmp_path, key, value):
    path = tmp_path / adapter_spec.CONFIG
    path.write_text(json.dumps(PLAIN | {key: value}))
    with pytest.raises(ModelError) as refused:
        adapter_spec.read(tmp_path)
    assert refused.value.where == f"{path}: {key}"


@pytest.mark.parametrize("key", PLAIN)
def test_what_an_adapter_must_say_is_missed_by_name(tmp_path, key):
    with pytest.raises(ModelError, match=f": {key}\n  got   nothing"):
        adapter_spec.spec_of({k: v for k, v in PLAIN.items() if k != key}, tmp_path)
