"""Keys of what is joined to a language model."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


def test_defaults_are_those_of_llava():
    asked = load(None, {"vision_tower": "a/b"}).assemble
    assert (asked.mm_projector_type, asked.mm_vision_select_layer) == ("mlp2x_gelu", -2)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("mlp3x_gelu", "more than two layers"),
        ("mlp12x_gelu", "more than two layers"),
        ("qformer", "BLIP-2"),
    ],
)
def test_projectors_that_no_class_of_transformers_has_are_refused_by_name(kind, why):
    with pytest.raises(ConfigError) as caught:
        load(None, {"mm_projector_type": kind})
    assert caught.value.got == kind
    assert caught.value.need == ("one of mlp2x_gelu, mlp1x_gelu, linear, identity, resampler")
    assert caught.value.hint.startswith("mlp2x_gelu; ")
    assert why in caught.value.hint


@pytest.mark.parametrize(("kind", "near"), [("liner", "linear"), ("mlp2x", "mlp2x_gelu")])
def test_other_words_are_answered_with_the_nearest(kind, near):
    with pytest.raises(ConfigError) as caught:
        load(None, {"mm_projector_type": kind})
    assert caught.value.hint == near


def test_a_resampler_looks_at_the_last_layer():
    keys = {"mm_projector_type": "resampler", "num_queries": 16, "mm_vision_select_layer": -1}
    run = load(None, keys)
    assert run.assemble.num_queries == 16
    assert not run.notes
    with pytest.raises(ConfigError) as caught:
        load(None, {**keys, "mm_vision_select_layer": -3})
    assert caught.value.hint == "remove `mm_vision_select_layer`"


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("resampler", "mm_vision_select_layer", -2), ("linear", "num_queries", 8)],
)
def test_a_key_that_the_projector_does_not_look_at_is_noted(kind, key, value):
    (note,) = load(None, {"mm_projector_type": kind, key: value}).notes
    assert f"{key} has nothing to act on" in note
