"""Pictures: sizes from headers, the same look in training and answering, refusals with reasons."""

import io

import numpy as np
import pytest
from PIL import Image

from tunesmith.data.ledger import RowError
from tunesmith.data.media.pictures import MOST_PIXELS, bounded, read, size_of


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_heeded_in_size_and_pixels(turn):
    from PIL import ImageOps

    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    data = saved(drawn, exif=exif)
    stock = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert size_of(data) == read(data).size == stock.size
    assert np.array_equal(np.asarray(read(data)), np.asarray(stock))


def test_what_is_transparent_stands_on_white():
    drawn = np.zeros((2, 2, 4), np.uint8)
    drawn[0, 0] = (255, 0, 0, 255)
    pixels = np.asarray(read(saved(Image.fromarray(drawn))))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[1, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([9, 9, 9, 200, 200, 200])
    assert np.asarray(read(saved(palette, transparency=0)))[0, 0].tolist() == [255, 255, 255]


def test_bytes_and_paths_are_the_same(tmp_path):
    data = saved(Image.new("L", (5, 7), 90), "BMP")
    path = tmp_path / "x.bmp"
    path.write_bytes(data)
    assert size_of(data) == size_of(str(path)) == (5, 7)
    assert np.array_equal(np.asarray(read(data)), np.asarray(read(str(path))))


def _cut(format: str) -> bytes:
    drawn = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    data = saved(Image.fromarray(drawn), format)
    return data[: len(data) * 2 // 3]


def _moving() -> bytes:
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 90, 180)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _bomb() -> bytes:
    """A small file of very many pixels."""
    return saved(Image.new("1", (12_000, 12_000)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"no picture at all", "no picture"),
        (_cut("PNG"), "ends early"),
        (_cut("JPEG"), "ends early"),
        (_moving(), "3 frames"),
        (saved(Image.new("CMYK", (4, 4)), "JPEG"), "CMYK"),
        (saved(Image.new("I;16", (4, 4)), "PNG"), "16 or 32 bits"),
        (_bomb(), f"at most {MOST_PIXELS:,} pixels"),
    ],
)
def test_what_would_be_read_otherwise_than_it_looks_is_refused(data, said):
    with pytest.raises(RowError, match=said) as error:
        size_of(data)
    assert error.value.where == "bytes of the row"


def test_bounds_keep_the_shape():
    for width, height in ((4000, 3000), (1, 4000), (3, 5), (768, 768), (10_000, 1)):
        made = bounded(width, height, least=1024, most=589_824)
        assert made[0] * made[1] <= max(589_824, 1024 + sum(made))
        if 1024 <= width * height <= 589_824:
            assert made == (width, height)
