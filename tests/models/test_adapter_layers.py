"""What a file holds of a layer is what it takes to be that layer again."""

import pytest
import torch
from torch import nn

from tunesmith.compute.dora import DoraLinear
from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.pissa import PissaLinear
from tunesmith.errors import ModelError
from tunesmith.models import adapter_layers
from tunesmith.models.adapter_spec import LoraSpec

SPECS = {
    LoraLinear: LoraSpec(3, 6),
    DoraLinear: LoraSpec(3, 6, dora=True),
    PissaLinear: LoraSpec(3, 5, pissa=4, rslora=True),
}
kinds = pytest.mark.parametrize("kind", SPECS)


def made(kind, device="cpu"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = nn.Linear(12, 20, device=device)
    layer = adapter_layers.layer_for(base, SPECS[kind], "a.b")
    adapter_layers.start(layer, SPECS[kind], seed=0, name="a.b")
    return layer


@torch.no_grad()
def learned(kind):
    layer, draw = made(kind), torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=draw))
    return layer


@kinds
def test_a_spec_makes_its_kind_and_starts_it_at_the_base(kind):
    layer, x = made(kind), torch.randn(5, 12)
    assert type(layer) is kind
    plain = nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-6)
    again = made(kind)
    assert all(
        torch.equal(p, q) for p, q in zip(layer.parameters(), again.parameters(), strict=True)
    )


@kinds
def test_tensors_have_the_shapes_that_are_promised_and_come_back_bit_by_bit(kind):
    layer, other = learned(kind), made(kind)
    found = adapter_layers.tensors(layer)
    assert {k: tuple(v.shape) for k, v in found.items()} == adapter_layers.shapes(
        layer, SPECS[kind]
    )
    for buffer in other.buffers():  # as if it had started elsewhere
        buffer.zero_()
    adapter_layers.put(other, found)
    x = torch.randn(5, 12)
    assert torch.equal(other(x), layer(x))
    assert torch.equal(other.delta(), layer.delta())


def test_the_file_of_pissa_is_an_adapter_of_the_unchanged_base():
    layer = learned(PissaLinear)
    found = adapter_layers.tensors(layer)
    delta = layer.scaling * found["lora_B.weight"] @ found["lora_A.weight"]
    torch.testing.assert_close(delta, layer.delta(), rtol=1e-4, atol=1e-5)
    assert found["lora_A.weight"].shape == (6, 12)


@kinds
def test_what_learns_is_known_by_its_name(kind):
    names = [n for n, p in made(kind).named_parameters() if p.requires_grad]
    assert all(adapter_layers.own(f"model.layers.0.x.{name}") for name in names)
    assert not adapter_layers.own("model.layers.0.x.weight")


@kinds
def test_a_plan_needs_no_weights(kind):
    layer = made(kind, device="meta")
    assert all(p.is_meta for p in layer.parameters())


def test_metadata_and_config_must_agree():
    spec = SPECS[PissaLinear]
    there = LoraSpec(6, 6 * spec.scaling)  # as PEFT's config has it
    told = adapter_layers.told(spec)
    assert adapter_layers.as_told(there, told, "file") == spec
    assert adapter_layers.as_told(there, {}, "file") == there
    assert adapter_layers.told(SPECS[DoraLinear]) == {}
    for wrong in ({"tunesmith_pissa": "{}"}, {"tunesmith_pissa": "["}, {"tunesmith_pissa": "null"}):
        with pytest.raises(ModelError, match="tunesmith_pissa"):
            adapter_layers.as_told(there, wrong, "file")
    for other in (there._replace(rank=5), there._replace(alpha=1), there._replace(rank=0)):
        with pytest.raises(ModelError, match="tunesmith_pissa"):
            adapter_layers.as_told(other, told, "file")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (LoraSpec(0, 8), "adapter"),
        (LoraSpec(3, 8, dropout=1.0), "adapter"),
        (LoraSpec(3, 8, dora=True, pissa=3), "adapter"),
        (LoraSpec(13, 8, pissa=3), "lora_rank"),
    ],
)
def test_what_no_adapter_can_be_is_refused(spec, where):
    with pytest.raises(ModelError, match=where):
        adapter_layers.refuse(spec, {"a": nn.Linear(12, 20)})
    adapter_layers.refuse(LoraSpec(12, 8, pissa=3), {"a": nn.Linear(12, 20)})
    adapter_layers.refuse(LoraSpec(13, 8), {"a": nn.Linear(12, 20)})
