"""Whether a model computes what rows share once, and gets what it gets for each row alone.

A probe decides, once per model: layers that look past the mask they are handed would mix rows.
"""

from __future__ import annotations

import weakref
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.compute.attention import decoder, documents, isolation, run
from tunesmith.compute.tree_attention import Tree, paths, tree_mask
from tunesmith.errors import ModelError
from tunesmith.types import Batch

_TREE = Tree(offsets=(0, 5, 8, 12, 14, 18, 21, 27), until=(21, 14, 12, 14, 18, 21, 27))
"""Two roots; below the first a segment with two of its own, and two more."""
_known: weakref.WeakKeyDictionary[nn.Module, tuple[str, bool]] = weakref.WeakKeyDictionary()


def mask_of(model: Any, batch: Batch) -> Tensor | None:
    """What the layers are told about the documents of a batch; `None`: it holds only one.

    Raises:
        ModelError: the documents share their beginnings, and the model cannot.
    """
    if batch.until:
        if not shares(model):
            raise refusal(model)
        return tree_mask(Tree(batch.offsets, batch.until))
    return documents(batch.offsets) if isolation(model) == "varlen" else None


def refusal(model: Any) -> ModelError:
    """The error for a model whose rows cannot share."""
    return ModelError(
        type(model).__name__,
        got="rows that share their beginnings",
        need="a model that gets the same for them as for each row alone",
        hint="prefix_sharing: false",
    )


def shares(model: Any) -> bool:
    """Whether rows of this model may share what they begin with; probed once per model.

    Args:
        model: a transformers causal language model.
    """
    name = model.config._attn_implementation
    if model not in _known or _known[model][0] != name:
        _known[model] = name, isolation(model) == "varlen" and _probe(model)
    return _known[model][1]


@torch.no_grad()
def _probe(model: Any) -> bool:
    """Every row of a small tree must be as it is alone, and must not see its siblings."""
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.tensor([(i * i * 7 + 13 * i + 3) % 97 for i in range(_TREE.offsets[-1])])
    ids = ids.to(device) % vocabulary
    other = ids.clone()
    other[8:12] = (ids[8:12] + 1) % vocabulary
    body, training = decoder(model), model.training
    rows = [_row(segment) for segment, end in enumerate(_TREE.until) if end == _end(segment)]
    positions = torch.empty(len(ids), dtype=torch.int64)
    for row in rows:
        positions[row] = torch.arange(len(row))
    positions, mask = positions.to(device), tree_mask(_TREE)
    model.eval()
    try:
        shared, beside = (run(body, tokens, positions, mask) for tokens in (ids, other))
        alone = [run(body, ids[row], positions[row], None) for row in rows]
    finally:
        model.train(training)
    near = 1e-4 if shared.dtype.itemsize >= 4 else 0.06
    equal = all(
        (shared[row] - own).norm() <= near * own.norm()
        for row, own in zip(rows, alone, strict=True)
    )
    rest = torch.cat((shared[:8] - beside[:8], shared[12:] - beside[12:]))
    return bool(equal and rest.norm() <= near / 10 * shared.norm())


def _end(segment: int) -> int:
    return _TREE.offsets[segment + 1]


def _row(segment: int) -> list[int]:
    """Where the tokens of the row that ends with a segment stand."""
    spans = list(pairwise(_TREE.offsets))
    path = (*paths(_TREE)[segment], segment)
    return [place for i in path for place in range(*spans[i])]
