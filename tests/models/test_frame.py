"""Weights go to the part that is built for them, whole."""

import pytest
import torch
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models.frame import is_beside, put


def _part(**layers):
    return nn.ModuleDict({name: nn.Linear(*size) for name, size in layers.items()})


def test_every_weight_is_copied():
    there, source = _part(a=(3, 4), b=(4, 2)), _part(a=(3, 4), b=(4, 2))
    put(there, source, "here")
    for name, tensor in source.state_dict().items():
        assert torch.equal(there.state_dict()[name], tensor)


@pytest.mark.parametrize("other", [{"a": (3, 4)}, {"a": (3, 4), "c": (4, 2)}, {"a": (3, 5)}])
def test_what_is_built_otherwise_is_refused(other):
    with pytest.raises(ModelError, match=r"ModuleDict, whose weights fit no part: [ab]"):
        put(_part(a=(3, 4), b=(4, 2)), _part(**other), "here")


def test_what_has_no_part_in_hidden_states_may_be_missing():
    put(_part(a=(3, 4)), _part(a=(3, 4), head=(4, 2), pooler=(4, 4)), "here")
    put(_part(a=(3, 4), pooler=(4, 4)), _part(a=(3, 4)), "here")
    assert is_beside("head.mlp.fc1.weight")
    assert is_beside("pooler.dense.bias")
    assert not is_beside("encoder.layers.0.mlp.head_norm.weight")
