import pytest
import torch
from torch import nn

from tunesmith.compute.pissa import PissaLinear, principal


def weight(rows=40, columns=24, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def layer(*, dtype=torch.float32, scaling=2.0):
    base = nn.Linear(24, 40)
    base.weight = nn.Parameter(weight().to(dtype))
    base.bias = nn.Parameter(torch.randn(40).to(dtype))
    made = PissaLinear(base, rank=4, scaling=scaling)
    made.start(*principal(base.weight, rank=4, scaling=scaling, iterations=-1, seed=0))
    return made


def best(matrix, rank):
    """The closest matrix of that rank (Eckart and Young)."""
    u, values, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (u[:, :rank] * values[:rank]) @ v[:rank]


@pytest.mark.parametrize("shape", [(40, 24), (24, 40)])
def test_the_principal_part_is_the_closest_matrix_of_its_rank(shape):
    matrix = weight(*shape)
    a, b = principal(matrix, rank=5, scaling=1.7, iterations=-1, seed=0)
    torch.testing.assert_close(1.7 * (b @ a).double(), best(matrix, 5), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(a.norm(dim=1), b.norm(dim=0), rtol=1e-4, atol=1e-5)


def test_iterations_come_ever_closer_and_the_seed_decides_the_bits():
    u, _, v = torch.linalg.svd(weight(120, 90), full_matrices=False)
    matrix = (u * 0.95 ** torch.arange(90)) @ v
    want, far = best(matrix, 6), []
    for iterations in (0, 2, 16):
        a, b = principal(matrix, rank=6, scaling=1.0, iterations=iterations, seed=1)
        again = principal(matrix, rank=6, scaling=1.0, iterations=iterations, seed=1)
        assert torch.equal(a, again[0])
        assert torch.equal(b, again[1])
        far.append(float(((b @ a).double() - want).norm() / want.norm()))
    assert far[0] > 2 * far[1] > 4 * far[2]
    other = principal(matrix, rank=6, scaling=1.0, iterations=0, seed=2)
    assert not torch.equal(
        other[0], principal(matrix, rank=6, scaling=1.0, iterations=0, seed=1)[0]
    )


def test_the_random_state_of_the_process_is_left_alone():
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    principal(weight(), rank=4, scaling=1.0, iterations=3, seed=9)
    assert torch.equal(torch.rand(1), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_the_start_it_is_its_base_to_the_bit(dtype):
    made = layer(dtype=dtype)
    x = torch.randn(9, 24).to(dtype)
    with torch.no_grad():
        torch.testing.assert_close(
            made(x), nn.functional.linear(x, made.weight, made.bias), rtol=0, atol=0
        )
    assert not made.delta().any()
    assert made.lora_A.dtype == made.lora_B.dtype == torch.float32


def test_outputs_and_gradients_are_those_of_residual_and_adapter():
    """As the paper writes it: x (W - s B0 A0)ᵀ + s x Aᵀ Bᵀ, in fp64."""
    made = layer()
    with torch.no_grad():
        made.lora_A.add_(torch.randn(4, 24) * 0.1)
        made.lora_B.add_(torch.randn(40, 4) * 0.1)
    residual = made.weight.double() - 2.0 * made.first_B.double() @ made.first_A.double()
    a, b = (p.detach().double().requires_grad_(True) for p in (made.lora_A, made.lora_B))
    x = torch.randn(9, 24, requires_grad=True)
    exact = x.detach().double().requires_grad_(True)
    want = nn.functional.linear(exact, residual, made.bias.double()) + 2.0 * exact @ a.T @ b.T
    got = made(x)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    weights = torch.randn(got.shape)
    (got * weights).sum().backward()
    (want * weights).sum().backward()
    for ours, theirs in ((x, exact), (made.lora_A, a), (made.lora_B, b)):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-5, atol=1e-4)
    merged = made.weight + made.delta()
    torch.testing.assert_close(merged.double(), residual + 2.0 * (b @ a), rtol=1e-5, atol=1e-5)


def test_where_it_started_is_no_parameter_and_in_no_state_dict():
    made = layer()
    assert [n for n, p in made.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]
    assert set(made.state_dict()) == {"weight", "bias", "lora_A", "lora_B"}
    made.to(torch.float64)
    assert made.first_A.dtype == torch.float64
