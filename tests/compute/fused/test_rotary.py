import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tunesmith.compute.fused.rotary import rotate


def angles(tokens, width):
    turned = torch.rand(1, tokens, width // 2, generator=torch.Generator().manual_seed(3)) * 6.3
    turned = turned.repeat(1, 1, 2).double()
    return turned.cos(), turned.sin()


def test_output_and_gradient_are_those_of_the_models():
    x = torch.randn(1, 7, 3, 8, dtype=torch.float64, requires_grad=True)
    cos, sin = angles(7, 8)
    want, _ = apply_rotary_pos_emb(x.transpose(1, 2), x.transpose(1, 2), cos, sin)
    got = rotate(x, cos, sin)
    torch.testing.assert_close(got, want.transpose(1, 2))
    away = torch.randn_like(got)
    ours, theirs = (
        torch.autograd.grad(y, x, g) for y, g in ((got, away), (want, away.transpose(1, 2)))
    )
    torch.testing.assert_close(ours, theirs)


def test_halves_may_turn_by_angles_of_their_own():
    x = torch.randn(1, 5, 2, 8, dtype=torch.float64, requires_grad=True)
    cos, sin = (torch.randn(1, 5, 8, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin), x)


def test_lengths_stay():
    x, (cos, sin) = torch.randn(1, 9, 2, 16).double(), angles(9, 16)
    torch.testing.assert_close(rotate(x, cos, sin).norm(dim=-1), x.norm(dim=-1))


def test_turned_back_it_is_what_it_was():
    x, (cos, sin) = torch.randn(1, 9, 2, 16).double(), angles(9, 16)
    torch.testing.assert_close(rotate(rotate(x, cos, sin), cos, -sin), x)
