"""What rows share is attended to once, and every number is that of dense attention."""

import numpy as np
import pytest
import torch

from alike import alike
from tunesmith.compute import attention, tree_attention
from tunesmith.compute.attention import Rule
from tunesmith.compute.tree_attention import Tree
from tunesmith.data.batches import lay_out

HEADS, KEYS, WIDTH = 4, 2, 16


def tree_of(seed):
    examples = alike(seed, count=10)
    (batch,) = lay_out(examples, range(10), max_tokens=10**6, share=True)
    return Tree(batch.offsets, batch.until), batch.positions_T


def inputs(tokens, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(1, tokens, heads, WIDTH) for heads in (HEADS, KEYS, KEYS)]
    made = [torch.randn(shape, dtype=torch.float64, generator=draw).to(dtype) for shape in shapes]
    return [x.transpose(1, 2).requires_grad_(True) for x in made]


def seen(tree, positions, window=None):
    """(T, T): a key is seen by itself and by what descends from its segment, within the window."""
    until = torch.tensor(tree.until).repeat_interleave(torch.tensor(tree.offsets).diff())
    place = torch.arange(tree.offsets[-1])
    mask = (place[None] <= place[:, None]) & (place[:, None] < until[None])
    if window is not None:
        mask &= positions[:, None] - positions[None] < window
    return mask


def dense(query, key, value, mask, *, scaling=WIDTH**-0.5, softcap=None, sinks=None):
    key, value = (x.repeat_interleave(HEADS // KEYS, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~mask, float("-inf")).exp()
    below = weights.sum(-1, keepdim=True)
    if sinks is not None:
        below = below + sinks.exp()[None, :, None, None]
    return (weights / below @ value).transpose(1, 2)


def by_tree(query, key, value, tree, rule):
    return attention._by_tree(query, key, value, tree=tree, rule=rule)


def slopes(out, given, seed=1):
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(out.dtype)
    return torch.autograd.grad((out * weights).sum(), given)


def near(got, want, limit):
    return all((a - b).norm() <= limit * b.norm() for a, b in zip(got, want, strict=True))


RULES = {
    "plain": (Rule(None, None, None, None), {}),
    "scaled": (Rule(0.4, None, None, None), {"scaling": 0.4}),
    "wide window": (Rule(None, 500, None, None), {}),
    "narrow window": (Rule(None, 9, None, None), {"window": 9}),
    "cap": (Rule(None, None, 0.7, None), {"softcap": 0.7}),
    "window and cap": (Rule(None, 9, 0.7, None), {"window": 9, "softcap": 0.7}),
    "sinks": (Rule(None, None, None, torch.linspace(-1, 2, HEADS).double()), {"sinks": True}),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", RULES)
def test_output_and_gradients_are_those_of_dense_attention(name, seed):
    tree, positions = tree_of(seed)
    rule, keys = RULES[name]
    given = inputs(tree.offsets[-1])
    mask = seen(tree, positions, keys.get("window"))
    keys = {k: v for k, v in keys.items() if k != "window"}
    if "sinks" in keys:
        keys["sinks"] = rule.sinks_H
    truth, out = dense(*given, mask, **keys), by_tree(*given, tree, rule)
    # Without a kernel, weights are rounded to fp32 on the way, as they are for documents.
    limit = 1e-6 if rule.softcap or rule.sinks_H is not None else 1e-10
    assert out.shape == truth.shape
    assert near([out, *slopes(out, given)], [truth, *slopes(truth, given)], limit)


@pytest.mark.parametrize("seed", range(3))
def test_fp32_is_within_a_hundred_thousandth(seed):
    tree, positions = tree_of(seed)
    exact, given = inputs(tree.offsets[-1]), inputs(tree.offsets[-1], torch.float32)
    truth = dense(*exact, seen(tree, positions))
    out = by_tree(*given, tree, RULES["plain"][0])
    assert near([out, *slopes(out, given)], [truth, *slopes(truth, exact)], 1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_bf16_is_as_near_as_without_sharing(seed):
    """The merged result is rounded once, like that of a kernel that sees all keys."""
    tree, positions = tree_of(seed)
    exact, given = inputs(tree.offsets[-1]), inputs(tree.offsets[-1], torch.bfloat16)
    truth = dense(*exact, seen(tree, positions))
    out = by_tree(*given, tree, RULES["plain"][0])
    assert out.dtype == torch.bfloat16
    assert near([out], [truth], 0.005)
    found, wanted = slopes(out, given), slopes(truth, exact)
    assert {x.dtype for x in found} == {torch.bfloat16}
    assert near(found, wanted, 0.01)


def test_both_ways_agree():
    tree, _ = tree_of(5)
    given = inputs(tree.offsets[-1])
    merged = by_tree(*given, tree, RULES["plain"][0])

    def masked(q, k, v, mask):
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        return out.transpose(1, 2)

    apart = tree_attention.by_segment(*given, tree=tree, window=None, masked=masked)
    assert near([merged], [apart], 1e-12)


def test_a_sibling_is_not_seen_and_learns_nothing():
    tree = Tree((0, 20, 27, 30), (30, 27, 30))
    query, key, value = inputs(30)
    out = by_tree(query, key, value, tree, RULES["plain"][0])
    toward_key, toward_value = torch.autograd.grad(out[:, 27:].square().sum(), (key, value))
    for toward in (toward_key, toward_value):
        assert toward[:, :, 20:27].abs().max() == 0
        assert toward[:, :, :20].abs().min() > 0


def test_the_mask_of_a_tree_is_not_that_of_documents():
    tree = Tree((0, 4, 6, 9), (9, 6, 9))
    mask = tree_attention.tree_mask(tree)
    assert tree_attention.read(mask) == tree
    assert mask.dtype == torch.int32
    assert mask.dim() == 4
    for offsets in ((0, 9), (0, 4, 6, 9), tuple(range(9))):
        assert tree_attention.read(attention.documents(offsets)) is None


def test_ancestors_and_the_longest_row():
    tree = Tree((0, 5, 8, 12, 14, 18, 21, 27), (21, 14, 12, 14, 18, 21, 27))
    assert tree_attention.paths(tree) == ((), (0,), (0, 1), (0, 1), (0,), (0,), ())
    assert tree_attention.longest(tree) == 12


def test_a_window_counts_from_the_place_in_the_row_not_in_the_batch():
    tree = Tree((0, 20, 40, 60), (60, 40, 60))
    given = inputs(60)
    positions = torch.cat((torch.arange(20), torch.arange(20, 40), torch.arange(20, 40)))
    out = by_tree(*given, tree, Rule(None, 30, None, None))
    assert near([out], [dense(*given, seen(tree, positions, 30))], 1e-12)
    wide = by_tree(*given, tree, Rule(None, 40, None, None))
    assert near([wide], [dense(*given, seen(tree, positions))], 1e-12)


def test_tokens_of_a_batch_are_end_to_end():
    tree, positions = tree_of(0)
    assert len(positions) == tree.offsets[-1]
    assert np.all(np.diff(tree.offsets) > 0)
