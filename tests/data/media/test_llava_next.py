"""LLaVA-NeXT and LLaVA-NeXT-Video, as stock transformers has them."""

from like_stock import check, moving


def test_like_stock(tmp_path):
    check(tmp_path, "llava_next")


@moving
def test_videos_like_stock(tmp_path):
    check(tmp_path, "llava_next_video")
