import pytest
import torch
from torch import nn

from tunesmith.compute import rows
from tunesmith.compute.fused.gated import ACTIVATIONS, gated
from tunesmith.compute.fused.linears import read
from tunesmith.compute.lora import LoraLinear

ACT = {
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
}


def block(*, adapters=(True, True, True), dtype=torch.float32):
    torch.manual_seed(0)
    made = []
    for number, (wide, narrow) in enumerate(((24, 40), (24, 40), (40, 24))):
        layer = nn.Linear(wide, narrow, dtype=dtype)
        if adapters[number]:
            layer = LoraLinear(layer, rank=2 + number, scaling=1.5, layer=number)
            nn.init.normal_(layer.lora_A, std=0.3)
            nn.init.normal_(layer.lora_B, std=0.3)
        made.append(layer)
    return nn.ModuleList(made)


def fused(made, x, act):
    return gated(x, read(made[:2]), read(made[2:]), act)


def both(made, x, act):
    results = []
    for call in (
        lambda x: fused(made, x, act),
        lambda x: made[2](ACT[act](made[0](x)) * made[1](x)),
    ):
        made.zero_grad()
        x.grad = None
        out = call(x)
        (out * torch.sin(torch.arange(out.numel())).view_as(out)).sum().backward()
        grads = [p.grad.clone() for p in made.parameters() if p.grad is not None]
        results.append([out.detach(), x.grad, *grads])
    return zip(*results, strict=True)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize(
    "adapters", [(True, True, True), (False, False, False), (True, False, True)]
)
def test_output_and_gradients_are_those_of_the_layers_one_by_one(monkeypatch, act, adapters):
    monkeypatch.setattr(rows, "_VALUES_AT_ONCE", 80)  # slices of two rows
    made = block(adapters=adapters).double()
    x = torch.randn(2, 5, 24).double().requires_grad_(True)
    for got, want in both(made, x, act):
        torch.testing.assert_close(got, want)


def test_what_is_kept_is_the_input_gate_and_up():
    made = block(dtype=torch.bfloat16)
    x = torch.randn(30, 24).bfloat16().requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fused(made, x, "silu")
    shapes = [tuple(t.shape) for t in kept if t.shape[0] == 30]
    assert shapes == [(30, 24), (30, 5), (30, 4), (30, 40), (30, 40)]


def test_the_backward_pass_may_run_twice():
    made, x = block(), torch.randn(5, 24, requires_grad=True)
    out = fused(made, x, "silu").sum()
    first = torch.autograd.grad(out, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out, x), first, rtol=0, atol=0)


def test_what_follows_may_change_the_output_in_place():
    made, x = block(), torch.randn(2, 5, 24, requires_grad=True)
    fused(made, x, "silu").mul_(3).sum().backward()
    got, x.grad = x.grad, None
    fused(made, x, "silu").sum().backward()
    torch.testing.assert_close(got, 3 * x.grad)
