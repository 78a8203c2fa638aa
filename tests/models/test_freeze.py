import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tiny_vlm import tiny_vlm
from tunesmith.compute import attention
from tunesmith.errors import ModelError
from tunesmith.models.freeze import freeze, full
from tunesmith.models.load import load_model


@pytest.fixture
def model(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=12, tied=False)
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=torch.bfloat16
    )


def layers_of(names):
    return sorted({int(name.split(".")[2]) for name in names if ".layers." in name})


def test_full_lets_everything_learn_in_fp32(model):
    assert full(model) == [name for name, _ in model.named_parameters()]
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_only_what_is_named_learns_by_whole_steps_of_its_path(model):
    assert full(model, only=("layers.1", "norm")) == [
        *(name for name, _ in model.named_parameters() if ".layers.1." in name),
        "model.norm.weight",
    ]
    names = full(model, only=("mlp.down_proj", "embed_tokens"))
    assert len(names) == 13
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(names)
    assert full(model, only=("layers.0.mlp.up_proj.weight",)) == [
        "model.layers.0.mlp.up_proj.weight"
    ]


@pytest.mark.parametrize("name", ["down", "layers.12", "proj", "mlp.q_proj"])
def test_a_name_of_nothing_lists_what_there_is(model, name):
    with pytest.raises(ModelError) as caught:
        full(model, only=("norm", name))
    assert (caught.value.where, caught.value.got) == ("train_modules", name)
    assert "q_proj" in caught.value.need
    assert not caught.value.hint


def test_experts_of_a_dense_model_lead_to_upcycle(model):
    with pytest.raises(ModelError, match="tunesmith upcycle"):
        full(model, only=("experts",))


def test_what_a_key_holds_back_cannot_be_named(tmp_path):
    directory = tiny_vlm(tmp_path, "llava")
    sees = load_model(directory, dtype=torch.float32)
    with pytest.raises(ModelError, match="which a freeze_") as caught:
        full(sees, frozen={"language_model"}, only=("lm_head",))
    assert caught.value.hint == "freeze_language_model: false"
    names = full(sees, frozen={"vision_tower"}, only=("multi_modal_projector",))
    assert names
    assert all("multi_modal_projector" in name for name in names)


def test_the_last_layers_learn_in_fp32_and_the_rest_stays_as_it_was(model):
    names = freeze(model, layers=2)
    assert layers_of(names) == [10, 11]
    assert len(names) == 2 * 9
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in names)
        assert parameter.dtype == (torch.float32 if name in names else torch.bfloat16)


def test_a_negative_number_means_the_first_layers(model):
    assert layers_of(freeze(model, layers=-3)) == [0, 1, 2]


def test_layer_1_is_not_layer_11(model):
    assert layers_of(freeze(model, layers=-2)) == [0, 1]
    assert layers_of(freeze(model, layers=1)) == [11]


def test_modules_are_matched_by_whole_names_only(model):
    names = freeze(model, layers=1, modules=("mlp", "self_attn.q_proj"))
    assert names == [
        "model.layers.11.self_attn.q_proj.weight",
        "model.layers.11.mlp.gate_proj.weight",
        "model.layers.11.mlp.up_proj.weight",
        "model.layers.11.mlp.down_proj.weight",
    ]
    assert len(freeze(model, layers=1, modules=("down_proj",))) == 1
    assert len(freeze(model, layers=1, modules=("all",))) == 9
    with pytest.raises(ModelError) as caught:
        freeze(model, layers=1, modules=("attn",))
    assert caught.value.where == "freeze_trainable_modules"
    assert "self_attn" in caught.value.need


def test_extra_modules_are_those_outside_of_the_layers(model):
    names = freeze(model, layers=1, modules=("mlp",), extra=("embed_tokens", "norm"))
    assert {"model.embed_tokens.weight", "model.norm.weight"} < set(names)
    assert len(names) == 5
    with pytest.raises(ModelError, match="freeze_extra_modules"):
        freeze(model, layers=1, extra=("mlp",))


@pytest.mark.parametrize("layers", [0, 13, -13])
def test_layers_that_are_not_there_are_refused(model, layers):
    with pytest.raises(ModelError, match="freeze_trainable_layers") as caught:
        freeze(model, layers=layers)
    assert "1 to 12" in caught.value.need


def test_a_second_call_starts_anew(model):
    freeze(model, layers=5)
    assert layers_of(freeze(model, layers=1)) == [11]
    assert layers_of([n for n, p in model.named_parameters() if p.requires_grad]) == [11]
