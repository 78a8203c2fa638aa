"""A weight in few bits computes as the dense weight that it stands for, which is bitsandbytes'."""

import copy

import bitsandbytes
import pytest
import torch
from torch import nn

from tunesmith.compute.dora import DoraLinear
from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.quantized import Quantized, quantize
from tunesmith.errors import ModelError

WAYS = [("nf4", True), ("nf4", False), ("fp4", True), ("fp4", False), ("int8", False)]
DTYPES = [torch.float32, torch.bfloat16]


def weight(dtype=torch.float32, rows=96, columns=128):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(rows, columns, generator=generator) * 0.05).to(dtype)


def inputs(dtype=torch.float32):
    return torch.randn(7, 128, generator=torch.Generator().manual_seed(1)).to(dtype)


def parameter(kind, double, dtype=torch.float32):
    return nn.Parameter(quantize(weight(dtype), kind, double=double), requires_grad=False)


def theirs(kind, double, dtype):
    """The same layer by bitsandbytes itself."""
    if kind == "int8":
        layer = bitsandbytes.nn.Linear8bitLt(128, 96, bias=False, has_fp16_weights=False)
        held = bitsandbytes.nn.Int8Params(
            weight(dtype).half(), requires_grad=False, has_fp16_weights=False
        )
    else:
        layer = bitsandbytes.nn.Linear4bit(128, 96, bias=False, compute_dtype=dtype)
        held = bitsandbytes.nn.Params4bit(
            weight(dtype), requires_grad=False, quant_type=kind, compress_statistics=double
        )
    layer.weight = held
    return layer.to("cpu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "double"), WAYS[:4])
def test_four_bits_are_those_of_bitsandbytes(kind, double, dtype):
    layer, own = theirs(kind, double, dtype), parameter(kind, double, dtype)
    assert torch.equal(own.parts["codes"], layer.weight.data)
    dense = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    assert torch.equal(own.dense(), dense)
    got, want = nn.functional.linear(inputs(dtype), own), layer(inputs(dtype))
    near = 1e-5 if dtype == torch.float32 else 0.01  # their kernel sums in another order
    assert (got - want).norm() <= near * want.norm()


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_bits_are_those_of_bitsandbytes_and_inputs_are_not_rounded(dtype):
    layer, own = theirs("int8", False, dtype), parameter("int8", False, dtype)
    assert torch.equal(own.parts["codes"], layer.weight.data)
    exact = nn.functional.linear(inputs(), weight())
    got = nn.functional.linear(inputs(dtype), own).float()
    want = layer(inputs(dtype)).float()
    assert (got - want).norm() <= 0.02 * want.norm()
    assert (got - exact).norm() <= (want - exact).norm()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(96, 128), (64, 96), (96, 80), (5, 7), (64, 100), (3, 64)])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_every_shape_is_dense_again_by_blocks_of_64(kind, shape, dtype):
    """Nearest of 16 values times the largest of the block, written out."""
    dense = weight(dtype, *shape)
    flat = dense.float().flatten()
    blocks = nn.functional.pad(flat, (0, -len(flat) % 64)).view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    table = bitsandbytes.functional.get_4bit_type(kind, device="cpu")
    nearest = table[((blocks / largest)[..., None] - table).abs().argmin(-1)]
    want = (nearest * largest).flatten()[: len(flat)].view(shape)
    got = quantize(dense, kind, double=False).dense()
    step = 0.5 * largest.max()  # in bf16 a value halfway between two may go to either
    wrong = (got.float() - want).abs() > 0.004 * step
    assert wrong.float().mean() < (0.0001 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize(("kind", "double"), WAYS)
def test_the_weight_is_near_and_small(kind, double):
    dense = weight(rows=512, columns=256)
    own = quantize(dense, kind, double=double)
    error = float((own.dense() - dense).norm() / dense.norm())
    assert error < {"nf4": 0.10, "fp4": 0.13, "int8": 0.01}[kind]
    bits = own.bytes * 8 / dense.numel()
    want = {"nf4": 4.127 if double else 4.5, "fp4": 4.127 if double else 4.5, "int8": 8.125}[kind]
    tables = 8 * 4 * 257 / dense.numel() if double else 0  # one for the weight, whatever its size
    assert bits == pytest.approx(want + tables, abs=0.001)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "double"), WAYS)
def test_a_layer_and_its_adapter_compute_as_over_the_dense_weight(kind, double, dtype):
    """Outputs and gradients, bit for bit: with and without an adapter, and with it switched off."""
    found = []
    for held in (
        parameter(kind, double, dtype),
        nn.Parameter(parameter(kind, double, dtype).dense()),
    ):
        base = nn.Linear(128, 96, dtype=dtype)
        base.bias.data.fill_(0.25)
        base.weight = nn.Parameter(held, requires_grad=False)
        x = inputs(dtype).requires_grad_(True)
        bare = base(x)
        layer = LoraLinear(base, rank=4, scaling=1.5)
        draw = torch.Generator().manual_seed(2)
        for part in (layer.lora_A, layer.lora_B):
            part.data = torch.randn(part.shape, generator=draw)
        out = layer(x)
        (bare.sum() + out.square().sum()).backward()
        layer.enabled = False
        found.append((bare, out, layer(x), x.grad, layer.lora_A.grad, layer.lora_B.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_no_dense_weight_is_kept_for_the_backward_pass():
    own, kept = parameter("nf4", True), []
    x = inputs().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        nn.functional.linear(x, own).sum()
    held = [t for t in kept if t.numel() == own.numel()]
    assert held
    assert all(isinstance(t, Quantized) for t in held)


@pytest.mark.parametrize(("kind", "double"), WAYS)
def test_moved_copied_and_turned_it_stays_quantised(kind, double):
    own = parameter(kind, double)
    layer = nn.Linear(128, 96, bias=False)
    layer.weight = own
    for other in (
        own.to("cpu"),
        own.detach(),
        own.clone(),
        copy.deepcopy(own),
        layer.eval().weight,
    ):
        assert isinstance(other, Quantized)
        assert torch.equal(other.dense(), own.dense())
    assert isinstance(own.T, Quantized)
    assert own.T.shape == (128, 96)
    assert torch.equal(own.T.dense(), own.dense().T)
    assert torch.equal(own.T.T.dense(), own.dense())
    assert isinstance(layer.to("meta").weight, Quantized)
    assert "Quantized" in repr(own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_in_another_dtype_it_is_dense(dtype):
    own = parameter("nf4", True, torch.bfloat16)
    other = own.to(dtype)
    assert type(other) is torch.Tensor
    assert torch.equal(other, own.dense().to(dtype))


@pytest.mark.parametrize(
    "write",
    [
        lambda own: own.copy_(weight()),
        lambda own: own.mul_(2),
        lambda own: own.zero_(),
        lambda own: torch.add(weight(), 1, out=own),
    ],
)
def test_writing_to_it_is_refused(write):
    own = parameter("nf4", True)
    before = own.dense().clone()
    with pytest.raises(ModelError, match="4 or 8 bits"):
        write(own)
    assert torch.equal(own.dense(), before)


def test_compiled_it_computes_the_same():
    layer = nn.Linear(128, 96, bias=False)
    layer.weight = parameter("nf4", True)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs()), layer(inputs()))


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "double"), WAYS)
def test_on_a_gpu_it_stands_for_the_same_weight(kind, double):
    here = quantize(weight(), kind, double=double)
    there = quantize(weight().cuda(), kind, double=double)
    want = here.dense()
    for own in (there, here.to("cuda"), there.to("cpu")):
        assert isinstance(own, Quantized)
        assert (own.dense().cpu() - want).norm() < 0.01 * want.norm()
    layer = nn.Linear(128, 96, bias=False, device="cuda")
    layer.weight = nn.Parameter(there, requires_grad=False)
    adapted = LoraLinear(layer, rank=4, scaling=1.0)
    x = inputs().cuda().requires_grad_(True)
    adapted(x).sum().backward()
    torch.testing.assert_close(x.grad, there.dense().sum(0).expand_as(x), rtol=1e-3, atol=1e-4)


def test_dora_over_it_computes_as_over_the_dense_weight():
    held = nn.Linear(128, 96, bias=False)
    held.weight = parameter("nf4", True)
    dense = nn.Linear(128, 96, bias=False)
    dense.weight = nn.Parameter(held.weight.data.dense())
    results = []
    for base in (held, dense):
        torch.manual_seed(0)
        layer, x = DoraLinear(base, rank=4, scaling=2.0), inputs().requires_grad_(True)
        nn.init.normal_(layer.lora_A, std=0.1)
        nn.init.normal_(layer.lora_B, std=0.1)
        layer(x).square().sum().backward()
        learned = (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector)
        results.append((layer(x), x.grad, layer.delta(), *(p.grad for p in learned)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)
