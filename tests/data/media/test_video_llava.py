"""Video-LLaVA, as stock transformers has it."""

from like_stock import check, moving


@moving
def test_like_stock(tmp_path):
    check(tmp_path, "video_llava")
