import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tunesmith.compute import rows
from tunesmith.compute.fused import norm


@pytest.mark.parametrize("shape", [(7, 48), (2, 3, 5, 48), (0, 48)])
def test_output_and_gradients_are_those_of_the_formula(monkeypatch, shape):
    monkeypatch.setattr(rows, "_VALUES_AT_ONCE", 96)  # slices of two rows
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw).requires_grad_(True)
    weight = torch.randn(48, generator=draw).requires_grad_(True)
    away = torch.randn(shape, generator=draw)
    got = norm.rms_norm(x, weight, 1e-2)
    ours = torch.autograd.grad(got, (x, weight), away)
    exact, exact_weight = x.double(), weight.double()
    want = exact_weight * exact / (exact.square().mean(-1, keepdim=True) + 1e-2).sqrt()
    theirs = torch.autograd.grad(want, (x, weight), away.double())
    torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_in_bf16_it_is_nearer_to_the_truth_than_the_models_own():
    own = LlamaRMSNorm(64)
    torch.nn.init.normal_(own.weight)
    own.bfloat16()
    x = (torch.randn(200, 64, generator=torch.Generator().manual_seed(0)) * 9).bfloat16()
    truth = own.double()(x.double())  # it computes in fp32 within
    own.bfloat16()
    ours = norm.rms_norm(x, own.weight, own.variance_epsilon)
    assert ours.dtype == torch.bfloat16
    assert (ours - truth).norm() < (own(x) - truth).norm()


def test_only_the_input_and_a_number_a_row_are_kept():
    x = torch.randn(30, 16).bfloat16().requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        norm.rms_norm(x, torch.ones(16).bfloat16(), 1e-6)
    assert [tuple(t.shape) for t in kept] == [(30, 16), (30, 1), (16,)]
    assert kept[0].data_ptr() == x.data_ptr()


def test_a_gradient_that_nobody_needs_is_not_made():
    x, weight = torch.randn(3, 8, requires_grad=True), torch.ones(8)
    norm.rms_norm(x, weight, 1e-6).sum().backward()
    assert weight.grad is None
    assert x.grad is not None


def test_what_follows_may_change_the_output_in_place():
    x = torch.randn(2, 3, 8, requires_grad=True)
    (got,) = torch.autograd.grad(norm.rms_norm(x, torch.ones(8), 1e-6).mul_(3).sum(), x)
    (once,) = torch.autograd.grad(norm.rms_norm(x, torch.ones(8), 1e-6).sum(), x)
    torch.testing.assert_close(got, 3 * once)
