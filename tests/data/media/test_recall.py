"""A batch of kept pictures is what the model takes of them all; others are left to the tower."""

import hashlib

import torch

from tunesmith.data.media.features import Features
from tunesmith.data.media.recall import Recall, entry_of
from tunesmith.types import Media


def digest(name):
    """Of a file that holds its name."""
    return hashlib.sha256(name.encode()).digest()


def entry(number, tiles=2):
    """Of a picture in tiles."""
    inputs = {
        "pixel_values": torch.randn(1, tiles, 3, 4, 4),
        "image_sizes": torch.tensor([[number, number]]),
    }
    return entry_of(inputs, {"hidden_states.-2": torch.full((tiles, 5, 6), float(number))})


def recall(tmp_path, joined=0, **tiles):
    """Pictures by name, with their tiles."""
    features, made = Features(tmp_path / "f"), []
    with features.making():
        features.add((digest(n), entry(i, t)) for i, (n, t) in enumerate(tiles.items()))

    def make(medium):
        made.append(medium.source)
        return entry(list(tiles).index(medium.source), tiles[medium.source])

    return Recall(features, {n: digest(n) for n in tiles}, joined=joined, make=make), made


def test_pictures_follow_one_another(tmp_path):
    found, _ = recall(tmp_path, a=2, b=3)
    inputs, made = found([Media("image", name) for name in "baa"])
    assert inputs["pixel_values"].shape == (3, 3, 0, 0, 0)
    assert inputs["image_sizes"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert made["hidden_states.-2"][:, 0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_some_towers_lay_pictures_side_by_side(tmp_path):
    found, _ = recall(tmp_path, joined=1, a=2, b=2)
    made = found([Media("image", "a"), Media("image", "b")]).made
    assert made["hidden_states.-2"].shape == (2, 10, 6)


def test_bytes_are_known_by_what_they_are(tmp_path):
    found, _ = recall(tmp_path, a=1)
    assert found([Media("image", b"a")]) is not None


def test_batches_with_anything_else_are_left_to_the_tower(tmp_path):
    found, _ = recall(tmp_path, a=1)
    for other in (Media("image", "c"), Media("image", b"c"), Media("video", ("a",))):
        assert found([Media("image", "a"), other]) is None


def test_what_is_damaged_is_made_again_once(tmp_path):
    found, made = recall(tmp_path, a=1, b=1)
    path = tmp_path / "f" / "000000" / "features.bin"
    raw = bytearray(path.read_bytes())
    raw[3] ^= 1
    path.write_bytes(raw)
    media = [Media("image", "a")]
    assert found(media).made["hidden_states.-2"].sum() == 0
    assert found(media) is not None
    assert made == ["a"]
    assert found.damaged == 1


def test_only_the_number_of_rows_of_pixels_stays():
    kept = entry_of({"pixel_values": torch.randn(7, 12)}, {})
    assert kept["input:pixel_values"].shape == (7, 0)
