"""What towers and projectors cost: counted on their code, held to the formula of a ViT."""

import pytest

from seeing_run import STAGE_1, seeing_run
from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.models.load import read_config
from tunesmith.training import sights as module
from tunesmith.training.forecast import body_of
from tunesmith.training.material import gather
from tunesmith.training.pace import Pace, Passes
from tunesmith.training.planning import make
from tunesmith.training.report import Silent
from tunesmith.training.sights import Sights, sights

PACE = Pace(0.0, Passes(0, 30.0, 0), Passes(0, 10.0, 0), 0.0, "")


def gathered(path, **keys):
    run = load(path, [f"{key}={value}" for key, value in keys.items()])
    return run, gather(run, Silent())


def by_hand(directory):
    """A picture through a ViT and two linear maps: products and attention, two for each number."""
    config = read_config(directory)
    tower, wide = config.vision_config, config.text_config.hidden_size
    width, patches = tower.hidden_size, (tower.image_size // tower.patch_size) ** 2
    seen = patches + 1  # the token of the whole picture
    layer = seen * (4 * width**2 + 2 * width * tower.intermediate_size) + 2 * seen**2 * width
    patching = patches * 3 * tower.patch_size**2 * width
    projector = patches * (width * wide + wide**2)
    return 2 * (patching + tower.num_hidden_layers * layer + projector)


def test_operations_of_a_picture_are_those_of_the_formula(tmp_path):
    run, material = gathered(seeing_run(tmp_path))
    found = sights(run, material)
    assert found.forward == by_hand(tmp_path / "llava")
    assert found.note == ""


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"finetuning_type": "full"}, ["projector"]),
        (STAGE_1, ["projector"]),
        ({**STAGE_1, "freeze_vision_tower": False}, ["projector", "vision_tower"]),
        ({"finetuning_type": "lora"}, ["projector"]),
        ({"finetuning_type": "lora", "freeze_multi_modal_projector": True}, []),
    ],
)
def test_gradients_go_back_through_the_parts_that_learn(tmp_path, keys, parts):
    run, material = gathered(
        seeing_run(tmp_path, **{"freeze_multi_modal_projector": False, **keys})
    )
    found, size = sights(run, material), {"projector": 0, "vision_tower": 0}
    for name, parameter in material.skeleton.named_parameters():
        for part in size:
            size[part] += parameter.numel() if part in name else 0
    if keys["finetuning_type"] == "full":  # adapters are beside what the model has
        assert sum(size.values()) == material.facts.aside_parameters
    assert found.learning == sum(size[part] for part in parts) / sum(size.values())
    assert found.own_weights is (keys["finetuning_type"] == "full")


def test_seconds_are_those_of_the_language_models_operations():
    one = Sights(forward=200.0, learning=0.5, own_weights=True)
    assert one.operations(3) == 3 * 200 * (1 + 2 * 0.5)
    # a token of 100 parameters does 200 operations forward: one medium is a token's worth
    assert one.seconds(3, PACE, body=100) == 3 * (0.5 * 10 + 0.5 * 30)
    assert one.seconds(3, PACE, body=100, trains=False) == 3 * 10


def test_the_plan_counts_them_where_they_are_computed(tmp_path):
    path = seeing_run(tmp_path, **STAGE_1)
    run, material = gathered(path)
    plain, made = make(run, material).forecast, sights(run, material)
    assert plain.flops.media == made.operations(8 * 2)  # eight pictures, two epochs
    known = material.facts
    assert plain.flops.layers == 2 * 2 * body_of(known) * plain.work.tokens * 1.5  # no tower in it
    tokens = plain.pace.seconds(plain.work)
    assert plain.seconds == pytest.approx(
        tokens + made.seconds(16, plain.pace, body=body_of(known))
    )
    run, material = gathered(path, cache_vision_features="true")
    assert sights(run, material).forward == make(run, material).forecast.flops.media == 0


def test_text_has_none(tmp_path):
    run, material = gathered(tiny_run(tmp_path))
    assert sights(run, material) == Sights()


def test_code_that_asks_for_numbers_is_told_of(tmp_path, monkeypatch):
    def asks(*_args, **_keys):
        raise RuntimeError("numbers are not there")

    monkeypatch.setattr(module, "through", asks)
    plan = make(*gathered(seeing_run(tmp_path)))
    assert plan.forecast.flops.media == 0
    assert any("not in the predicted time" in note for note in plan.notes)
