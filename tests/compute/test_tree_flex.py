"""What flex_attention is told to see is what a row sees; on a GPU, its kernel agrees."""

import pytest
import torch

from alike import alike
from tunesmith.compute import attention, tree_flex
from tunesmith.compute.attention import Rule
from tunesmith.compute.tree_attention import Tree
from tunesmith.data.batches import lay_out

RULES = [(None, None), (9, None), (None, 0.7), (9, 0.7)]


def inputs(seed, device="cpu", dtype=torch.float32):
    examples = alike(seed, count=10)
    (batch,) = lay_out(examples, range(10), max_tokens=10**6, share=True)
    draw = torch.Generator().manual_seed(seed)
    shapes = [(1, len(batch.ids_T), heads, 16) for heads in (4, 2, 2)]
    made = [torch.randn(s, generator=draw).to(device, dtype).transpose(1, 2) for s in shapes]
    return Tree(batch.offsets, batch.until), made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("window", "softcap"), RULES)
@torch.no_grad()
def test_the_mask_is_that_of_the_segments(window, softcap):
    for seed in range(3):
        tree, given = inputs(seed)
        keys = {"tree": tree, "scaling": 0.3, "window": window, "softcap": softcap}
        out = tree_flex.attend(*given, **keys)
        truth = attention._by_tree(*given, tree=tree, rule=Rule(0.3, window, softcap, None))
        assert (out - truth).norm() <= 1e-5 * truth.norm()


@pytest.mark.gpu
@pytest.mark.parametrize(("window", "softcap"), RULES)
def test_the_kernel_has_the_output_and_the_gradients_of_the_processor(window, softcap):
    rule = Rule(None, window, softcap, None)
    for seed in range(3):
        tree, given = inputs(seed)
        moved = [x.to("cuda", torch.bfloat16).requires_grad_(True) for x in given]
        given = [x.detach().to(torch.bfloat16).float().requires_grad_(True) for x in given]
        out = attention._by_tree(*moved, tree=tree, rule=rule)
        truth = attention._by_tree(*given, tree=tree, rule=rule)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
        found = torch.autograd.grad((out.float() * weights.cuda()).sum(), moved)
        wanted = torch.autograd.grad((truth * weights).sum(), given)
        for a, b in zip([out, *found], [truth, *wanted], strict=True):
            assert (a.float().cpu() - b).norm() <= 0.02 * b.norm()
