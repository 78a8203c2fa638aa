import pytest
import torch
from torch import nn

from tiny_batch import batch_of, random_examples
from tunesmith.compute import chance, lora
from tunesmith.compute.lora import LoraLinear


def layer(*, bias=True, dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    base = nn.Linear(24, 40, bias=bias, dtype=dtype)
    made = LoraLinear(base, rank=4, scaling=1.7, dropout=dropout, layer=5)
    nn.init.normal_(made.lora_A, std=0.3)
    nn.init.normal_(made.lora_B, std=0.3)
    return made


def plain(made, x, mask=None):
    """The same layer in five words of autograd, in fp64."""
    x, a, b = x.double(), made.lora_A.double(), made.lora_B.double()
    bias = None if made.bias is None else made.bias.double()
    dropped = x if mask is None else x * mask / (1 - made.dropout)
    return nn.functional.linear(x, made.weight.double(), bias) + made.scaling * dropped @ a.T @ b.T


def both(made, x, mask=None):
    """Outputs and gradients of the layer and of its plain twin under one random weighting."""
    results = []
    for call in (made, lambda x: plain(made, x, mask)):
        x.grad = None
        made.zero_grad()
        out = call(x)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
        (out * weights).sum().backward()
        grads = (x.grad, made.lora_A.grad, made.lora_B.grad)
        results.append((out.detach(), *(g.clone() for g in grads)))
    return zip(*results, strict=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(9, 24), (2, 5, 24), (0, 24)])
def test_output_and_gradients_are_those_of_the_formula(bias, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    for got, want in both(layer(bias=bias), x):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)


def test_dropout_falls_on_the_adapters_input_only_and_alike_in_both_directions():
    made, example = layer(dropout=0.4).train(), random_examples((9,))
    chance.seek(seed=0, step=1)
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    with chance.tokens(batch_of(example)):
        mask = chance.keep(chance.current(5), 24, dropout=0.4)
        assert 0 < mask.float().mean() < 1
        for got, want in both(made, x, mask):
            torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)


def test_in_evaluation_nothing_is_dropped():
    made = layer(dropout=0.4).eval()
    x = torch.randn(9, 24)
    torch.testing.assert_close(made(x).double(), plain(made, x), rtol=1e-5, atol=1e-5)


def test_two_forward_passes_without_dropout_are_bit_equal():
    made, x = layer().train(), torch.randn(9, 24)
    assert torch.equal(made(x), made(x))


def test_the_base_is_frozen_and_has_the_names_it_had():
    made = layer()
    assert [n for n, p in made.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]
    assert {"weight", "bias"} <= made.state_dict().keys()


def test_switched_off_it_is_the_base():
    made, x = layer(), torch.randn(9, 24)
    made.enabled = False
    assert torch.equal(made(x), nn.functional.linear(x, made.weight, made.bias))


def test_a_bf16_base_keeps_the_adapter_and_its_gradients_in_fp32():
    made = layer(dtype=torch.bfloat16)
    x = torch.randn(64, 24).bfloat16().requires_grad_(True)
    out = made(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert made.lora_A.dtype == made.lora_A.grad.dtype == torch.float32
    assert made.lora_B.dtype == made.lora_B.grad.dtype == torch.float32
    twin = layer()
    twin.weight, twin.bias = nn.Parameter(made.weight.float()), nn.Parameter(made.bias.float())
    exact = x.detach().float().requires_grad_(True)
    twin(exact).square().sum().backward()
    pairs = [(x, exact), (made.lora_A, twin.lora_A), (made.lora_B, twin.lora_B)]
    for got, want in pairs:
        assert (got.grad.float() - want.grad).norm() < 0.02 * want.grad.norm()


def test_the_input_is_kept_once_and_never_in_fp32():
    first, second = layer(dtype=torch.bfloat16), layer(dtype=torch.bfloat16)
    x = torch.randn(64, 24).bfloat16().requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        first(x), second(x)
    inputs = {t.data_ptr() for t in kept if t.shape == (64, 24)}
    assert inputs == {x.data_ptr()}
    assert {t.dtype for t in kept if t.shape[0] == 64} == {torch.bfloat16}


def test_nothing_flows_below_the_lowest_adapter():
    made, x = layer(), torch.randn(9, 24)
    made(x).sum().backward()
    assert x.grad is None
    assert made.lora_A.grad.abs().sum() > 0


def test_delta_is_what_the_adapter_adds_to_the_weight():
    made, x = layer(), torch.randn(9, 24)
    merged = nn.functional.linear(x, made.weight + made.delta(), made.bias)
    torch.testing.assert_close(made(x), merged, rtol=1e-5, atol=1e-5)


def test_print_shows_its_sizes():
    assert "24, 40, rank=4" in repr(layer())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 24, 3), (0, 24, 3), (9, 24, 0)])
def test_a_thin_product_is_the_product(dtype, shape):
    tokens, inputs, rank = shape
    wide, narrow = torch.randn(tokens, inputs).to(dtype), torch.randn(inputs, rank).to(dtype)
    torch.testing.assert_close(lora.thin(wide, narrow), wide @ narrow)


@pytest.mark.parametrize("shape", [(9, 24), (2, 5, 24)])
def test_what_follows_may_change_the_output_in_place(shape):
    made, x = layer(), torch.randn(shape, requires_grad=True)
    weights = torch.randn(made(x).shape)
    found = []
    for call in (made, lambda x: plain(made, x)):
        x.grad = None
        made.zero_grad()
        out = call(x)
        out += x.mean(-1, keepdim=True)
        out *= weights
        out.sum().backward()
        found.append((out.detach().double(), x.grad, made.lora_A.grad, made.lora_B.grad))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
