"""Every parameter belongs to one part, whatever the family calls its modules."""

import pytest
import torch

from tiny_model import tiny_model
from tiny_vlm import STILL, tiny_vlm
from tunesmith.errors import ModelError
from tunesmith.models import freeze, load
from tunesmith.models.adapter_spec import LoraSpec, targets
from tunesmith.models.parts import parts, sizes


@pytest.mark.parametrize("kind", STILL)
def test_parts_are_found_in_every_family(tmp_path, kind):
    model = load.load_model(tiny_vlm(tmp_path, kind), dtype=torch.float32)
    found = sizes(model)
    assert min(found.values()) > 0
    assert sum(found.values()) == sum(p.numel() for p in model.parameters())
    text = set(model.get_decoder().parameters()) | set(model.get_output_embeddings().parameters())
    assert found["language_model"] == sum(p.numel() for p in text)
    of = parts(model)
    linear = targets(model, "all")
    assert {of(name) for name in linear} == {"language_model"}


def test_a_model_that_only_reads_has_one_part(tmp_path):
    model = load.load_model(tiny_model(tmp_path), dtype=torch.float32)
    assert sizes(model)["language_model"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("free", ["vision_tower", "multi_modal_projector", "language_model"])
def test_what_is_frozen_does_not_learn(tmp_path, free):
    model = load.load_model(tiny_vlm(tmp_path), dtype=torch.float32)
    frozen = {"vision_tower", "multi_modal_projector", "language_model"} - {free}
    of = parts(model)
    learned = freeze.full(model, frozen=frozen)
    assert learned == [n for n, _ in model.named_parameters() if of(n) == free]
    assert [n for n, p in model.named_parameters() if p.requires_grad] == learned
    spec = LoraSpec(frozen=frozenset(frozen))
    assert {of(name) for name in targets(model, spec.target, spec.frozen)} == {free}


def test_nothing_that_learns_is_refused(tmp_path):
    model = load.load_model(tiny_model(tmp_path), dtype=torch.float32)
    with pytest.raises(ModelError, match="a part of the model that learns"):
        freeze.full(model, frozen={"language_model"})
