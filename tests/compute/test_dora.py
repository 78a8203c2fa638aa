import pytest
import torch
from torch import nn

from tiny_batch import batch_of, random_examples
from tunesmith.compute import chance
from tunesmith.compute.dora import DoraLinear, norms


def layer(*, bias=True, dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    base = nn.Linear(24, 40, bias=bias, dtype=dtype)
    made = DoraLinear(base, rank=4, scaling=1.7, dropout=dropout, layer=5)
    nn.init.normal_(made.lora_A, std=0.3)
    nn.init.normal_(made.lora_B, std=0.3)
    with torch.no_grad():
        made.lora_magnitude_vector.mul_(1 + 0.2 * torch.randn(40))
    return made


def plain(made, x, mask=None):
    """The formula of the paper in autograd and fp64, the norm held fast."""
    x, a, b = x.double(), made.lora_A.double(), made.lora_B.double()
    weight, bias = made.weight.double(), None if made.bias is None else made.bias.double()
    turned = weight + made.scaling * b @ a
    length = turned.detach().norm(dim=1)
    gained = made.lora_magnitude_vector.double()[:, None] * turned / length[:, None]
    if mask is None:
        return nn.functional.linear(x, gained, bias)
    dropped = x * mask / (1 - made.dropout)
    changed = nn.functional.linear(dropped, gained - weight)
    return nn.functional.linear(x, weight, bias) + changed


def both(made, x, mask=None):
    """Outputs and gradients of the layer and of its plain twin under one random weighting."""
    results = []
    for call in (made, lambda x: plain(made, x, mask)):
        x.grad = None
        made.zero_grad()
        out = call(x)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
        (out * weights).sum().backward()
        learned = (made.lora_A, made.lora_B, made.lora_magnitude_vector)
        results.append((out.detach(), x.grad, *(p.grad.clone() for p in learned)))
    return zip(*results, strict=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(9, 24), (2, 5, 24), (0, 24)])
def test_output_and_gradients_are_those_of_the_paper(bias, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    for got, want in both(layer(bias=bias), x):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)


def test_dropout_falls_on_what_the_adapter_changes_and_alike_in_both_directions():
    made, example = layer(dropout=0.4).train(), random_examples((9,))
    chance.seek(seed=0, step=1)
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    with chance.tokens(batch_of(example)):
        mask = chance.keep(chance.current(5), 24, dropout=0.4)
        assert 0 < mask.float().mean() < 1
        for got, want in both(made, x, mask):
            torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)


def test_a_new_one_changes_nothing_whatever_stands_in_its_memory():
    base = nn.Linear(24, 40)
    before, x = base.weight.detach().clone(), torch.randn(9, 24)
    made = DoraLinear(base, rank=4, scaling=2.0)
    assert torch.equal(made.lora_magnitude_vector, before.norm(dim=1))
    torch.testing.assert_close(made(x), nn.functional.linear(x, before, base.bias))
    assert not made.delta().any()


def test_the_norm_is_that_of_the_turned_weight_however_many_rows_go_at_once(monkeypatch):
    made = layer()
    want = (made.weight.double() + made.scaling * made.lora_B.double() @ made.lora_A.double()).norm(
        dim=1
    )
    torch.testing.assert_close(made.norm().double(), want.detach(), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr("tunesmith.compute.dora._AT_ONCE", 24 * 7)
    torch.testing.assert_close(made.norm().double(), want.detach(), rtol=1e-6, atol=1e-6)


def test_a_row_of_zeros_stays_one():
    base = nn.Linear(24, 40, bias=False)
    with torch.no_grad():
        base.weight[3] = 0
    made, x = DoraLinear(base, rank=4, scaling=2.0), torch.randn(9, 24)
    out = made(x)
    out.sum().backward()
    assert not out[:, 3].any()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.requires_grad)
    assert torch.isfinite(made.delta()).all()
    zero = torch.zeros(2, 3)
    assert norms(zero, zero, torch.zeros(2, 2), 1.0).min() > 0


def test_a_change_of_length_is_not_rounded_to_bf16():
    """1.01 as a bf16 number is 1.0078: every output of a row would be off alike."""
    made = layer(dtype=torch.bfloat16, bias=False)
    with torch.no_grad():
        made.lora_B.zero_()
        made.lora_magnitude_vector.copy_(made.norm())
        x = torch.randn(4096, 24).bfloat16()
        before = made(x).float()
        made.lora_magnitude_vector.mul_(1.01)
        ratio = (made(x).float() * before).sum(0) / before.square().sum(0)
    assert abs(float(ratio.mean()) - 1.01) < 7e-4


def test_a_bf16_base_learns_in_fp32():
    made = layer(dtype=torch.bfloat16)
    x = torch.randn(256, 24).bfloat16().requires_grad_(True)
    out = made(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    twin = layer()
    twin.weight, twin.bias = nn.Parameter(made.weight.float()), nn.Parameter(made.bias.float())
    with torch.no_grad():
        twin.lora_magnitude_vector.copy_(made.lora_magnitude_vector)
    exact = x.detach().float().requires_grad_(True)
    twin(exact).square().sum().backward()
    learned = ("lora_A", "lora_B", "lora_magnitude_vector")
    for name in learned:
        got, want = getattr(made, name).grad, getattr(twin, name).grad
        assert got.dtype == torch.float32
        assert (got - want).norm() < 0.02 * want.norm(), name
    assert (x.grad.float() - exact.grad).norm() < 0.02 * exact.grad.norm()


def test_the_input_is_kept_once():
    made = layer(dtype=torch.bfloat16)
    x = torch.randn(64, 24).bfloat16().requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        made(x)
    assert [t.data_ptr() for t in kept if t.shape == (64, 24)] == [x.data_ptr()]
    assert len([t for t in kept if t.shape == (64, 40)]) == 1


def test_delta_is_what_the_adapter_adds_to_the_weight():
    made, x = layer(), torch.randn(9, 24)
    merged = nn.functional.linear(x, made.weight + made.delta(), made.bias)
    torch.testing.assert_close(made(x), merged, rtol=1e-5, atol=1e-5)


def test_nothing_flows_below_the_lowest_adapter_and_switched_off_it_is_the_base():
    made, x = layer(), torch.randn(9, 24)
    made(x).sum().backward()
    assert x.grad is None
    made.enabled = False
    assert torch.equal(made(x), nn.functional.linear(x, made.weight, made.bias))


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
