import pytest
import torch
from torch import nn

from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.models import acting, adapters, load


def model_with_adapter(tmp_path, kind="llama", **keys):
    model = load.load_model(tiny_model(tmp_path, kind, tokenizer=False), dtype=torch.float32)
    adapters.attach(model, adapters.LoraSpec(4, 8, **keys), seed=0)
    return model


def own_code(model, function):
    """Gives every gated block of the model another forward pass."""
    for layer in model.model.layers:
        layer.mlp.forward = function.__get__(layer.mlp)


def test_a_model_that_trains_as_it_says_passes_and_is_left_as_it_was(tmp_path):
    model = model_with_adapter(tmp_path, dropout=0.5)
    model.model.layers[0].train()
    before = {n: p.clone() for n, p in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    acting.check(model, "config.json")
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_model_that_draws_in_training_is_refused_whatever_it_is_called(tmp_path):
    model = model_with_adapter(tmp_path)

    def noisy(self, x):
        factor = torch.rand_like(x) if self.training else 1
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x)) * factor

    own_code(model, noisy)
    random = torch.get_rng_state()
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        acting.check(model, "config.json")
    assert caught.value.got == "a model that draws random numbers in training"
    assert torch.equal(torch.get_rng_state(), random)


def test_a_weight_that_is_taken_past_its_adapter_is_refused_with_the_layers_that_are_asked(
    tmp_path,
):
    model = model_with_adapter(tmp_path)

    def past(self, x):
        inner = self.act_fn(self.gate_proj(x)) * nn.functional.linear(x, self.up_proj.weight)
        return nn.functional.linear(inner, self.down_proj.weight)

    own_code(model, past)
    with pytest.raises(ModelError, match="lora_target") as caught:
        acting.check(model, "config.json")
    assert caught.value.got == "up_proj, down_proj"
    assert caught.value.hint == "lora_target: q_proj,k_proj,v_proj,o_proj,gate_proj"


def test_a_layer_that_no_token_went_to_is_none_that_is_passed_by(tmp_path):
    model = model_with_adapter(tmp_path)
    own_code(model, lambda self, x: self.down_proj(x.new_zeros(*x.shape[:-1], 96)))
    acting.check(model, "config.json")
