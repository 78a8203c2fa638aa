"""How media are read is said once, for training and answering."""

import pytest

from tunesmith.config.media import Media
from tunesmith.data.media.family import Limits


def test_every_key_is_heeded_with_the_same_default():
    of_training = {"cache_vision_features": False}
    assert Media().model_dump() == Limits()._asdict() | of_training


@pytest.mark.parametrize("key", ["image_max_pixels", "video_maxlen", "audio_sampling_rate"])
def test_nothing_is_not_a_size(key):
    with pytest.raises(ValueError, match="greater than"):
        Media(**{key: 0})
