"""Pixtral and Mistral 3, as stock transformers has them."""

import pytest

from like_stock import check, moving


@moving
@pytest.mark.parametrize("kind", ["pixtral", "mistral3"])
def test_like_stock(tmp_path, kind):
    check(tmp_path, kind)
