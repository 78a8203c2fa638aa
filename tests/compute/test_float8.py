"""Products in FP8 are those of the rounded matrices; what cannot be rounded is refused."""

import pytest
import torch
from torch import nn

from tunesmith.compute import float8
from tunesmith.compute.fused import linears
from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.quantized import quantize
from tunesmith.errors import ConfigError, ModelError

BF16 = torch.bfloat16


def drawn(*shape, seed=0, scale=1.0):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).to(BF16)


def nearest(x):
    """Every row rounded to e4m3 after its largest number was brought to 448, by its definition."""
    wide = x.double()
    scales = wide.abs().amax(1, keepdim=True) / 448
    ratio = wide / scales
    exponent = torch.floor(torch.log2(ratio.abs().clamp(min=2.0**-20))).clamp(min=-6)
    step = 2.0 ** (exponent - 3)
    return torch.round(ratio / step) * step * scales


def near(got, want, within):
    return (got.double() - want.double()).norm() <= within * want.double().norm()


def test_codes_are_the_nearest_numbers_of_e4m3():
    x = drawn(40, 96) * torch.logspace(-4, 4, 40)[:, None].to(BF16)
    codes, scales = float8.rounded(x)
    assert codes.dtype == torch.float8_e4m3fn
    assert near(codes.double() * scales.double(), nearest(x), 2e-3)  # ties, in fp32
    assert codes.float().abs().amax(1).eq(448).all()
    assert torch.equal(float8.rounded(torch.zeros(2, 16))[0].float(), torch.zeros(2, 16))


@pytest.mark.parametrize("bias", [False, True])
def test_both_passes_multiply_rounded_matrices(bias):
    weight, x, pull = drawn(96, 128, scale=0.05), drawn(7, 128, seed=1), drawn(7, 96, seed=2)
    offset = drawn(96, seed=3) if bias else None
    held = nn.Parameter(quantize(weight, "fp8"), requires_grad=False)
    x.requires_grad_(True)
    out = nn.functional.linear(x, held, offset)
    want = nearest(x.detach()) @ nearest(weight).T + (offset.double() if bias else 0)
    assert near(out.detach(), want, 4e-3)  # bf16 has eight bits
    assert not near(out.detach(), x.detach().double() @ weight.double().T, 1e-2)
    out.backward(pull)
    assert near(x.grad, nearest(pull) @ nearest(weight.T).T, 4e-3)
    added = torch.ones(7, 128, dtype=BF16).addmm_(pull, held)
    assert near(added, 1 + nearest(pull) @ nearest(weight.T).T, 6e-3)


def test_a_layer_with_an_adapter_and_a_group_of_them_multiply_so_too():
    weight, x = drawn(96, 128, scale=0.05), drawn(7, 128, seed=1)
    base = nn.Linear(128, 96, bias=False).to(BF16)
    base.weight = nn.Parameter(quantize(weight, "fp8"), requires_grad=False)
    layer = LoraLinear(base, rank=4, scaling=0.5)
    with torch.no_grad():
        layer.lora_A.copy_(drawn(4, 128, seed=4))
        layer.lora_B.copy_(drawn(96, 4, seed=5))
    want = nearest(x) @ nearest(weight).T
    want = want + 0.5 * x.double() @ layer.lora_A.double().T @ layer.lora_B.double().T
    assert near(layer(x).detach(), want, 6e-3)
    (grouped,) = linears.together(x, linears.read([layer]))
    assert torch.equal(grouped, layer(x))


def test_inputs_are_left_as_they_are_inside_the_comparison():
    held, x = quantize(drawn(96, 128), "fp8"), drawn(7, 128, seed=1)
    with float8.inputs_as_they_are():
        assert torch.equal(nn.functional.linear(x, held), x @ held.dense().T)
    assert not torch.equal(nn.functional.linear(x, held), x @ held.dense().T)


def test_what_is_not_finite_stays_so_and_no_rows_are_no_rows():
    held, x = quantize(drawn(96, 128), "fp8"), drawn(3, 128, seed=1)
    x[1, 5] = float("inf")
    out = nn.functional.linear(x, held)
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()
    assert nn.functional.linear(x[:0], held).shape == (0, 96)


def test_a_weight_is_held_both_ways_in_the_memory_of_bf16():
    held = quantize(drawn(96, 128), "fp8")
    assert held.bytes == 2 * 96 * 128 + 4 * (96 + 128)
    assert near(held.T.dense(), held.dense().T, 1e-6)


def test_a_weight_whose_numbers_are_too_far_apart_is_refused_by_name():
    weight = drawn(96, 128)
    float8.held("layer.q", weight)
    float8.held("layer.q", weight * 0)
    weight[:, 0] = 1e6  # the rest of a row falls below what e4m3 can tell from zero
    for wrong in (weight, weight.T.contiguous(), drawn(96, 128) / 0):
        with pytest.raises(ModelError, match=r"layer\.q[\s\S]*FP8 changes"):
            float8.held("layer.q", wrong)
    with pytest.raises(ModelError, match="multiples of 16"):
        float8.held("layer.q", drawn(96, 100))


def test_a_run_that_is_not_in_bf16_is_refused():
    with pytest.raises(ConfigError, match="bf16"):
        float8.check(torch.device("cpu"), torch.float32)
    float8.check(torch.device("cpu"), BF16)


def test_a_gpu_without_such_products_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    with pytest.raises(ConfigError, match=r"A100[\s\S]*Hopper"):
        float8.check(torch.device("cuda"), BF16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    float8.check(torch.device("cuda"), BF16)
