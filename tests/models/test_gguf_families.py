"""Names and orders of weights go there and back."""

import numpy as np
import pytest

from tunesmith.errors import ModelError
from tunesmith.models import gguf_families
from tunesmith.models.gguf_families import ARCHITECTURES


def test_an_architecture_without_entry_lists_those_there_are():
    with pytest.raises(ModelError, match="one of llama, qwen2, qwen3"):
        gguf_families.architecture("m.gguf", {"general.architecture": "rwkv7"})


def test_unrotating_turns_side_by_side_pairs_into_halves():
    rows = np.array([0, 4, 1, 5, 2, 6, 3, 7])[:, None]  # one head of eight
    assert gguf_families.unrotate(rows, heads=1)[:, 0].tolist() == list(range(8))


def test_rotating_is_undone_by_unrotating():
    rows = np.random.default_rng(0).normal(size=(24, 3))
    turned = gguf_families.rotate(rows, heads=3)
    assert not np.array_equal(turned, rows)
    np.testing.assert_array_equal(gguf_families.unrotate(turned, heads=3), rows)


@pytest.mark.parametrize("kind", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_name_comes_back(kind):
    stored = [f"blk.11.{inner}.weight" for inner in kind.in_layer]
    stored += ["token_embd.weight", "output_norm.weight", "output.weight"]
    found = gguf_families.names("m.gguf", kind, stored)
    assert len(set(found.values())) == len(stored)
    assert [gguf_families.stored_name(kind, name) for name in found.values()] == stored


def test_a_weight_of_another_family_has_no_place():
    name = "model.layers.0.pre_feedforward_layernorm.weight"
    assert gguf_families.stored_name(ARCHITECTURES["llama"], name) is None
    assert gguf_families.stored_name(ARCHITECTURES["gemma2"], name) == "blk.0.ffn_norm.weight"
