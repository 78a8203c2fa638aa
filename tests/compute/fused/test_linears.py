import pytest
import torch
from torch import nn

from tiny_batch import batch_of, random_examples
from tunesmith.compute import chance
from tunesmith.compute.fused.linears import read, together
from tunesmith.compute.lora import LoraLinear


def layers(*, dropout=0.0, dtype=torch.float32, bias=True):
    """Ranks 4 and 2, one layer without adapter that learns, one switched off."""
    torch.manual_seed(0)
    made = []
    for number, (width, rank) in enumerate(((40, 4), (16, 2), (16, 0), (24, 3))):
        base = nn.Linear(24, width, bias=bias, dtype=dtype)
        if rank:
            base = LoraLinear(base, rank=rank, scaling=1.5, dropout=dropout, layer=number)
            nn.init.normal_(base.lora_A, std=0.3)
            nn.init.normal_(base.lora_B, std=0.3)
        made.append(base)
    made[3].enabled = False
    return nn.ModuleList(made)


def run(made, function, x):
    """Outputs and gradients of what learns, the third output left unused."""
    made.zero_grad()
    x.grad = None
    outs = function(x)
    weights = [torch.sin(torch.arange(o.numel())).view_as(o) for o in outs]
    sum((o.float() * w).sum() for o, w in zip(outs[:2], weights, strict=False)).backward()
    grads = [p.grad.clone() for p in made.parameters() if p.grad is not None]
    return [*(o.detach() for o in outs), x.grad, *grads]


def one_by_one(made):
    return lambda x: tuple(layer(x) for layer in made)


def as_one(made):
    return lambda x: together(x, read(made))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(9, 24), (2, 5, 24), (0, 24)])
def test_each_layer_gives_what_it_gives_alone(bias, shape):
    made = layers(bias=bias).double()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    x.requires_grad_(True)
    for got, want in zip(run(made, as_one(made), x), run(made, one_by_one(made), x), strict=False):
        torch.testing.assert_close(got, want)


def test_a_layer_that_learns_whole_gets_its_gradient():
    made = layers()[2:3]
    x = torch.randn(9, 24, requires_grad=True)
    got, want = ([], [])
    for found, function in ((got, as_one(made)), (want, one_by_one(made))):
        made.zero_grad()
        x.grad = None
        function(x)[0].sin().sum().backward()
        found += [x.grad, *(p.grad.clone() for p in made.parameters())]
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_every_layer_drops_what_it_drops_alone():
    made = layers(dropout=0.4).train()
    x = torch.randn(9, 24, requires_grad=True)
    chance.seek(seed=0, step=1)
    try:
        with chance.tokens(batch_of(random_examples((9,)))):
            got, want = run(made, as_one(made), x), run(made, one_by_one(made), x)
            plain = run(made.eval(), as_one(made), x)
    finally:
        chance._Now.draw = None
    assert not torch.allclose(got[0], plain[0])
    for ours, theirs in zip(got, want, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_input_is_kept_once_and_in_the_dtype_of_the_products():
    made = layers(dtype=torch.bfloat16)
    x = torch.randn(64, 24).bfloat16().requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        together(x, read(made))
    long = [t for t in kept if t.shape[0] == 64]
    assert [t.shape for t in long] == [(64, 6), (64, 24)]
    assert long[1].data_ptr() == x.data_ptr()
    assert {t.dtype for t in long} == {torch.bfloat16}


def test_under_autocast_products_are_in_its_dtype_and_gradients_in_that_of_the_weights():
    made = layers()
    x = torch.randn(9, 24, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, want = run(made, as_one(made), x), run(made, one_by_one(made), x)
    assert got[0].dtype == torch.bfloat16
    assert {t.dtype for t in got[4:]} == {torch.float32}
    for ours, theirs in zip(got, want, strict=False):
        assert (ours.float() - theirs.float()).norm() <= 0.01 * theirs.float().norm()


def test_nothing_flows_to_an_input_that_needs_none():
    made, x = layers(), torch.randn(9, 24)
    together(x, read(made))[0].sum().backward()
    assert x.grad is None
    assert made[0].lora_A.grad.abs().sum() > 0


def test_a_layer_of_another_kind_or_with_a_hook_is_not_taken():
    made = layers()

    class More(LoraLinear):
        pass

    assert read([made[0], More(nn.Linear(24, 8), rank=2, scaling=1.0)]) is None
    assert read([nn.Identity()]) is None
    made[1].register_forward_hook(lambda *_: None)
    assert read([made[0]]) is not None
    assert read(made) is None


def test_what_follows_may_change_the_outputs_in_place():
    made, x = layers(), torch.randn(2, 5, 24, requires_grad=True)
    got, want = (
        run(made, lambda x, f=f: [out.mul_(0.5) for out in f(x)], x)
        for f in (as_one(made), one_by_one(made))
    )
    for ours, theirs in zip(got, want, strict=False):
        torch.testing.assert_close(ours, theirs)
