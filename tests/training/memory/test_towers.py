"""What towers are rehearsed to take is what their code holds."""

import gc
import weakref

import pytest
import torch
from torch.utils._pytree import tree_leaves

from seeing_run import STAGE_1, seeing_run
from tiny_run import tiny_run
from tunesmith.compute import chance
from tunesmith.compute.fused import blocks
from tunesmith.compute.seen import through
from tunesmith.config.load import load
from tunesmith.models.load import load_model
from tunesmith.training.material import gather
from tunesmith.training.memory import estimate
from tunesmith.training.memory.rehearse import Costs
from tunesmith.training.memory.towers import Towers
from tunesmith.training.planning import make
from tunesmith.training.report import Silent

TOWER = {**STAGE_1, "freeze_vision_tower": False}


class Saved:
    """A tensor for the backward pass, as long as that needs it."""

    def __init__(self, tensor):
        self.tensor = tensor.detach()  # its graph would hold itself


def gathered(tmp_path, *said, **keys):
    run = load(seeing_run(tmp_path, **keys), list(said))
    return run, gather(run, Silent())


def really_held(material, count, *, again=False):
    """Bytes of so many pictures, of what is made of them, and of what a real pass saves."""
    model = load_model(material.directory, dtype=torch.float32)
    learned = {name for name, p in material.skeleton.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learned)
    blocks.fuse(model)
    chance.enable_checkpointing(model.train(), None if again else 0)
    chance.seek(seed=0, step=1)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    inputs = material.family.inputs([material.data.train.media(0)[0]] * count)
    saved = weakref.WeakSet()

    def keep(tensor):
        saved.add(one := Saved(tensor))
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one.tensor):
        made = through(model, inputs).pooler_output  # what leads to nothing else is gone
    gc.collect()
    lives = tree_leaves([dict(inputs), made, [one.tensor for one in saved]])
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in lives}
    return sum(size for place, size in held.items() if place not in own)


@pytest.mark.parametrize("keys", [STAGE_1, TOWER])
@pytest.mark.parametrize("count", [1, 6])
def test_what_is_kept_is_what_a_real_pass_holds(tmp_path, keys, count):
    run, material = gathered(tmp_path, **keys)
    found = estimate.needs(run, material).towers
    counted = found.fixed[0].kept + count * found.each[0].kept
    assert counted == pytest.approx(really_held(material, count), rel=0.03)


def test_a_tower_that_learns_and_is_computed_again_keeps_less(tmp_path):
    run, material = gathered(tmp_path, **TOWER)
    found = estimate.needs(run, material).towers
    assert found.at(900, again=True).kept < 0.7 * found.at(900, again=False).kept
    less = really_held(material, 1) - really_held(material, 1, again=True)
    assert found.each[0].kept - found.each[1].kept == pytest.approx(less, rel=0.1)


def test_media_of_a_micro_batch_are_as_many_as_its_tokens_have():
    found = Towers(
        (Costs(5, 6, 7, 8), Costs(1, 1, 1, 1)), (Costs(100, 200, 300), Costs(10, 20, 30)), 0.01
    )
    assert found.at(400, again=False) == Costs(405, 806, 1207, 8)
    assert found.at(400, again=True) == Costs(41, 81, 121, 1)


def test_a_plan_has_room_for_them(tmp_path):
    run, material = gathered(tmp_path, **TOWER)
    made, train = estimate.needs(run, material), material.data.train
    assert made.towers.per_token == 8 / train.lengths[train.num_media > 0].sum()
    picture = material.family.inputs([train.media(0)[0]])["pixel_values"].nbytes
    assert made.fixed.media == int(2 * run.global_batch() * 8 / 9 * picture)
    bare = made._replace(towers=Towers(), fixed=made.fixed._replace(media=0))
    held = made.towers.at(400, again=False)
    more = made.need(400, 0).total - bare.need(400, 0).total
    assert more >= made.fixed.media + held.kept
    packed, material = gathered(tmp_path, "packing=true", "cutoff_len=500", **TOWER)
    of_packs = estimate.needs(packed, material)
    step = packed.global_batch() * 500 * of_packs.towers.per_token
    assert of_packs.fixed.media == int(2 * step * picture)


def test_text_and_kept_features_have_none(tmp_path):
    run, material = gathered(tmp_path / "seeing", "cache_vision_features=true", **STAGE_1)
    assert estimate.needs(run, material).towers == Towers()
    run = load(tiny_run(tmp_path))
    found = estimate.needs(run, gather(run, Silent()))
    assert (found.towers, found.fixed.media) == (Towers(), 0)


def test_code_that_asks_for_numbers_is_told_of(tmp_path, monkeypatch):
    def asks(*_args, **_keys):
        raise RuntimeError("numbers are not there")

    monkeypatch.setattr(estimate, "rehearse_towers", asks)
    monkeypatch.setattr(estimate, "remembered", lambda _key, make: make())
    run, material = gathered(tmp_path, **TOWER)
    made = estimate.needs(run, material)
    assert (made.towers, made.fixed.media > 0) == (Towers(), True)
    assert any("not in the memory here (RuntimeError" in n for n in make(run, material).notes)
