"""Experts under autocast: products in bf16 over weights in fp32, as linear layers have them."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_experts import FAMILIES, SIZES
from tunesmith.compute import experts

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = ("mixtral", "qwen2_moe", "granitemoe", "gpt_oss")
IDS = torch.arange(24).reshape(2, 12)


class Products(TorchDispatchMode):
    """Counts the dtypes of matrix products."""

    def __init__(self):
        super().__init__()
        self.dtypes = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "grouped_mm" in str(func):
            self.dtypes[args[0].dtype, args[1].dtype] += 1
        return func(*args, **(kwargs or {}))


def model_of(kind, *, ours=True, dtype=torch.float32):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES, **FAMILIES[kind])
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    if ours:
        experts.prepare(model)
        assert model.config._experts_implementation == experts.NAME
    return model.to(dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_without_autocast_nothing_changes(kind):
    ours, theirs = (model_of(kind, ours=which)(input_ids=IDS).logits for which in (True, False))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_products_are_in_bf16_and_gradients_in_fp32(kind):
    found, plain = model_of(kind), model_of(kind)
    with Products() as seen, torch.autocast("cpu", torch.bfloat16):
        loss = found(input_ids=IDS, labels=IDS).loss
        loss.backward()
    assert set(seen.dtypes) == {(torch.bfloat16, torch.bfloat16)}
    plain(input_ids=IDS, labels=IDS).loss.backward()
    for name, parameter in found.named_parameters():
        if ".experts." in name:
            want = plain.get_parameter(name).grad
            assert parameter.grad.dtype == torch.float32
            near = torch.nn.functional.cosine_similarity(
                parameter.grad.flatten(), want.flatten(), 0
            )
            assert near > 0.95, name


def test_it_is_what_weights_in_bf16_would_give():
    """Of one layer alone: the fp32 weights are rounded as they would have been stored."""
    module = model_of("mixtral").model.layers[0].mlp.experts
    stored = model_of("mixtral", dtype=torch.bfloat16).model.layers[0].mlp.experts
    hidden = torch.randn(10, 32)
    chosen, weights = torch.arange(20).reshape(10, 2) % 4, torch.full((10, 2), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        ours = module(hidden, chosen, weights)
    theirs = stored(hidden.bfloat16(), chosen, weights.bfloat16())
    assert torch.equal(ours, theirs)


def test_a_dense_model_and_a_chosen_way_stay_as_they_are():
    config = AutoConfig.for_model("llama", **SIZES)
    dense = AutoModelForCausalLM.from_config(config)
    before = getattr(dense.config, "_experts_implementation", None)
    experts.prepare(dense)
    assert getattr(dense.config, "_experts_implementation", None) == before
    eager = model_of("mixtral", ours=False)
    eager.set_experts_implementation("eager")
    experts.prepare(eager)
    assert eager.config._experts_implementation == "eager"
    assert experts.NAME not in model_of("mixtral").config.to_json_string()
