"""Keys of what is joined to a language model."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


def test_defaults_are_those_of_llava():
    asked = load(None, {"vision_tower": "a/b"}).assemble
    assert (asked.mm_projector_type, asked.mm_vision_select_layer) == ("mlp2x_gelu", -2)


def test_other_projectors_are_refused():
    with pytest.raises(ConfigError):
        load(None, {"mm_projector_type": "resampler"})
