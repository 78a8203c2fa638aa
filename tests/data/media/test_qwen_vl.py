"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL, as stock transformers have them: positions in pictures too."""

import pytest

from like_stock import check, moving


@moving
@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_like_stock(tmp_path, kind):
    check(tmp_path, kind)
