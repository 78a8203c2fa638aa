"""Products with weights that are laid out once: the same but for rounding, row by row the same."""

import pytest
import torch
from torch import nn

from tiny_model import tiny_model
from tunesmith.compute import prepacked
from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.prepacked import prepack
from tunesmith.models.load import load_model

NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = list(NEAR)


@pytest.fixture(params=DTYPES, ids=str)
def layer(request):
    torch.manual_seed(0)
    return nn.Linear(576, 1536, bias=request.param == torch.float32).to(request.param)


@torch.inference_mode()
def test_a_product_is_the_same_but_for_rounding(layer):
    x = torch.randn(3, 5, 576, dtype=layer.weight.dtype)
    right = layer(x)
    assert prepack(layer, room=1 << 30) == layer.weight.nbytes
    found = layer(x)
    assert found.shape == right.shape
    assert (found - right).norm() <= NEAR[x.dtype] * right.norm()
    assert "prepacked" in layer.forward.func.__module__


@torch.inference_mode()
def test_a_row_does_not_depend_on_how_many_there_are(layer):
    prepack(layer, room=1 << 30)
    x = torch.randn(700, 576, dtype=layer.weight.dtype)
    alone = torch.cat([layer(x[i : i + 4]) for i in range(0, 700, 4)])
    for count in (4, 5, 16, 17, 63, 64, 100, 512, 528, 700):
        assert torch.equal(layer(x[:count]), alone[:count]), count


def test_gradients_and_weights_that_were_written_to_go_the_usual_way(layer):
    x = torch.randn(4, 576, dtype=layer.weight.dtype)
    prepack(layer, room=1 << 30)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        layer.weight.mul_(2)
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_nothing_is_done_where_there_is_no_room(layer):
    assert prepack(layer, room=layer.weight.nbytes - 1) == 0
    assert "forward" not in vars(layer)


@torch.inference_mode()
def test_an_adapter_over_it_and_a_tied_head(tmp_path, monkeypatch):
    model = load_model(tiny_model(tmp_path, tokenizer=False), dtype=torch.float32)
    ids = torch.arange(5, 25)[None]
    right = model(ids).logits
    assert prepack(model, room=1 << 30) > 0
    counted, op = [], torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(
        prepacked.torch.ops.mkldnn, "_linear_pointwise", lambda *a: counted.append(1) or op(*a)
    )
    torch.testing.assert_close(model(ids).logits, right, atol=1e-5, rtol=1e-5)
    assert len(counted) == sum(type(m) is nn.Linear for m in model.modules())
    base = model.model.layers[0].mlp.down_proj
    adapted = LoraLinear(base, rank=2, scaling=2.0)
    adapted.lora_A.data.normal_()
    adapted.lora_B.data.normal_()
    x, before = torch.randn(6, base.in_features), len(counted)
    found = adapted(x)
    assert len(counted) == before + 1
    torch.testing.assert_close(
        found, nn.functional.linear(x, base.weight + adapted.delta()), atol=1e-4, rtol=1e-4
    )
