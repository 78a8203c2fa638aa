"""Media are read once for a batch, and batches without any are left alone."""

import numpy as np
import pytest
import torch

from like_stock import made
from tiny_vlm import picture
from tunesmith.compute.score import score
from tunesmith.data.batches import join
from tunesmith.data.media.feed import Feed
from tunesmith.types import Example, Media, Origin


def example(media: tuple[Media, ...] = ()) -> Example:
    """Sixteen tokens of which the last is learned."""
    learned = np.zeros(16, bool)
    learned[-1] = True
    return Example(np.arange(16, dtype=np.int32), learned, Origin("d", "f", 1, 1), media)


def test_without_media_nothing_is_read():
    batch = join([example()], [0])
    assert Feed(None)(batch) is batch
    assert Feed(None).room(99) == 99


def test_alone_means_a_batch_for_each_document(tmp_path):
    family = made(tmp_path, "llava").family
    assert Feed(family).room(99) == 99
    assert Feed(family, alone=True).room(99) == 1


def test_media_that_nobody_has_read_are_never_learned_as_placeholders(tmp_path):
    seen = made(tmp_path, "llava")
    batch = join([example((Media("image", str(picture(tmp_path / "a.png"))),))], [0])
    read = Feed(seen.family)(batch)
    assert torch.is_tensor(read.seen.inputs["pixel_values"])
    with pytest.raises(AssertionError, match="nobody has read"):
        score(seen.model, batch)
