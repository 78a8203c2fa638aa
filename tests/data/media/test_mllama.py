"""Llama 3.2 Vision, as stock transformers has it: layers of their own look at the tiles."""

from like_stock import check


def test_like_stock(tmp_path):
    family = check(tmp_path, "mllama").family
    assert family.alone
