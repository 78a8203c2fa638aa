"""LLaVA-1.5, as stock transformers has it."""

import pytest

from like_stock import check, made
from tunesmith.data.media.llava import Llava


@pytest.mark.parametrize("kind", ["llava", "vipllava"])
def test_like_stock(tmp_path, kind):
    check(tmp_path, kind)


def test_old_processor_files_are_completed_from_the_config(tmp_path):
    seen = made(tmp_path, "llava")
    right = seen.family.processor
    told = (right.patch_size, right.num_additional_image_tokens)
    right.patch_size = right.vision_feature_select_strategy = None
    right.num_additional_image_tokens = 0
    mended = Llava(right, seen.model.config, seen.checked.backend, seen.family.limits).processor
    assert (mended.patch_size, mended.num_additional_image_tokens) == told
    assert mended.vision_feature_select_strategy == "default"
