"""What all families share: sizes are remembered, bounds are kept, wrong kinds refused."""

import pytest

from like_stock import made
from tiny_vlm import picture
from tunesmith.data.ledger import RowError
from tunesmith.data.media.family import Limits
from tunesmith.types import Media


def test_pictures_keep_to_the_bounds(tmp_path):
    limits = Limits(image_max_pixels=400, image_min_pixels=100)
    family = made(tmp_path, "llava", limits).family
    large = Media("image", str(picture(tmp_path / "large.png", (80, 20))))
    small = Media("image", str(picture(tmp_path / "small.png", (4, 2))))
    assert family.look(large)[1:3] == family.open(large).size == (40, 10)
    assert family.look(small)[1:3] == family.open(small).size
    assert 100 <= family.open(small).size[0] * family.open(small).size[1] <= 400
    assert family.identity() != made(tmp_path, "llava").family.identity()


def test_a_kind_that_the_model_does_not_take_is_refused(tmp_path):
    family = made(tmp_path, "llava").family
    with pytest.raises(RowError, match="media that llava takes: image"):
        family.look(Media("audio", "x.wav"))


def test_the_processor_is_asked_once_for_each_size(tmp_path):
    family = made(tmp_path, "llava").family
    asked = []
    family.expanded = lambda header, medium: asked.append(header) or "<image>"
    for seed in range(3):
        family.words(Media("image", str(picture(tmp_path / f"{seed}.png", seed=seed))))
    family.words(Media("image", str(picture(tmp_path / "other.png", (50, 30)))))
    assert [header.width for header in asked] == [40, 50]
