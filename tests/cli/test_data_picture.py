"""The picture is a whole PNG for any data, and shows what the numbers say."""

import io
import struct
import zlib

import numpy as np
import pytest
from matplotlib.image import imread

from real_lengths import rows_like
from stored import stored
from tunesmith.cli.data_picture import draw, figure
from tunesmith.data.statistics import Batching, statistics
from tunesmith.types import Example, Origin


def said(lengths, sets=("d",), **how):
    made = []
    for i, n in enumerate(lengths):
        origin = Origin(sets[i % len(sets)], "f.json", i + 1, i + 1)
        made.append(Example(np.zeros(n, np.int32), np.arange(n) >= n - max(1, n // 4), origin))
    train = stored(made)
    settings = {"cutoff_len": 2048, "batch_size": 4, "global_batch": 8, "seed": 0, **how}
    return statistics(train, train.choose(np.zeros(len(made), bool)), Batching(**settings))


def pixels(data):
    return imread(io.BytesIO(data))[..., :3]


def share_of(image, colour):
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return (np.abs(image - wanted) < 0.02).all(axis=-1).mean()


def chunks(data):
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        assert zlib.crc32(body) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        yield body[:4]
        at += 12 + length


@pytest.mark.parametrize(
    ("lengths", "sets"),
    [
        ([2], ("one",)),
        ([7, 7, 7], ("wörter & $x$ _a_", "数据集", "…" * 60)),
        (rows_like("all", 300).tolist(), tuple(f"set {i}" for i in range(12))),
        ([3, 100_000], ("long",)),
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_data_make_a_whole_picture(lengths, sets):
    data = draw(said(lengths, sets), "run.yaml")
    assert data.startswith(b"\x89PNG")
    assert list(chunks(data))[-1] == b"IEND"
    height, width, _ = pixels(data).shape
    assert 1000 <= width <= 2000
    assert 600 <= height <= 1500


RANDOM = np.random.default_rng(0)
MARKED = {
    "one length": ([42] * 9, 2048),
    "close": (RANDOM.integers(36, 45, 60).tolist(), 42),
    "at the cutoff": ([1, 1, *RANDOM.integers(480, 513, 100).tolist()], 512),
    "a tail": (rows_like("all", 400).tolist(), 512),
    "another cutoff": (rows_like("all", 400).tolist(), 1280),
    "far apart": ([100] * 60 + [400] * 38 + [900, 1500], 1200),
}


@pytest.mark.parametrize(("lengths", "cutoff_len"), MARKED.values(), ids=MARKED)
def test_no_label_of_a_length_is_covered(lengths, cutoff_len):
    made = figure(said(lengths, cutoff_len=cutoff_len), "run.yaml")
    made.canvas.draw()
    axes = made.subfigs[0].axes[0]
    marks = [one for one in axes.texts if one.get_text().strip().endswith(tuple("0123456789"))]
    boxes = [one.get_window_extent() for one in marks]
    assert 1 <= len(marks) == len(axes.lines) <= 4
    whole = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert not any(box.overlaps(other) for other in boxes[:i])
        for j, line in enumerate(axes.lines):
            (x, top) = line.get_transform().transform(line.get_xydata())[1]
            assert i == j or not (box.x0 < x < box.x1 and top > box.y0 + 1)


def test_a_larger_share_of_answers_has_more_of_their_colour():
    lengths = rows_like("alpaca_en_demo", 200).tolist()
    few = pixels(draw(said(lengths, ("a",)), "run.yaml"))
    assert share_of(few, "#E69F00") > 0.01
    assert share_of(few, "#0072B2") > 0.03


def test_the_three_colours_differ_in_brightness():
    from tunesmith.cli import data_picture as picture

    def brightness(colour):
        return np.dot([int(colour[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114])

    levels = sorted(brightness(c) for c in (picture._BLUE, picture._ORANGE, picture._GREY))
    assert min(np.diff(levels)) > 25
