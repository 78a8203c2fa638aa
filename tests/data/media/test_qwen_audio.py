"""Qwen2-Audio, as stock transformers has it."""

import pytest

from like_stock import check, made
from tunesmith.data.media.family import Limits
from tunesmith.errors import ConfigError
from tunesmith.types import Media


def test_like_stock(tmp_path):
    pytest.importorskip("av")
    check(tmp_path, "qwen2_audio")


def test_another_rate_than_the_model_was_made_for_is_refused(tmp_path):
    family = made(tmp_path, "qwen2_audio", Limits(audio_sampling_rate=8000)).family
    with pytest.raises(ConfigError, match="16000, the rate that the model was made for"):
        family.look(Media("audio", b"x"))
