"""Pictures: how large they are, from the header alone, and as the model gets them.

The same in training and in answering: turned as EXIF says, what is transparent on white, made
smaller or larger where the run bounds the number of pixels. What would be read otherwise than it
looks (16 bits, CMYK, several frames) is refused.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.data.ledger import RowError

MOST_PIXELS = 2**27
"""Of a file; what claims more is taken for a bomb. 134 million: more than cameras take."""
_READ = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr")
_TURNED = (5, 6, 7, 8)
"""EXIF orientations by which rows become columns."""
_ORIENTATION = 0x0112


def size_of(source: str | bytes) -> tuple[int, int]:
    """Width and height of a picture as it is seen; its pixels are not decoded.

    Args:
        source: path of a file, or its bytes.

    Raises:
        RowError: no picture, one that ends early, or one that would be read wrongly.
    """
    with _opened(source) as image:
        _check(image, source)
        _check_end(image.format or "", source)
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        width, height = image.size
        return (height, width) if turned else (width, height)


def read(source: str | bytes) -> Any:
    """The picture as a model gets it, before any bound on its pixels: `PIL.Image`, RGB.

    Raises:
        RowError: as in `size_of`, and pixels that cannot be decoded.
    """
    from PIL import Image, ImageOps

    with _opened(source) as image:
        _check(image, source)
        image = ImageOps.exif_transpose(image)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(ground, image).convert("RGB")
        return image.convert("RGB")


def bounded(width: int, height: int, *, least: int, most: int) -> tuple[int, int]:
    """Width and height within bounds on the number of pixels; the shape stays.

    >>> bounded(1600, 1200, least=1024, most=589824)
    (886, 665)
    """
    if width * height > most:
        factor = math.sqrt(most / (width * height))
        width, height = max(1, int(width * factor)), max(1, int(height * factor))
    if width * height < least:
        factor = math.sqrt(least / (width * height))
        width, height = math.ceil(width * factor), math.ceil(height * factor)
    return width, height


def named(source: object) -> str:
    """A medium in words, for errors."""
    return source if isinstance(source, str) else "bytes of the row"


def no_picture(source: str | bytes, got: object, need: str, hint: str = "") -> RowError:
    """A file that is not used as a picture."""
    return RowError.of("picture that cannot be read", named(source), got=got, need=need, hint=hint)


@contextmanager
def _opened(source: str | bytes) -> Iterator[Any]:
    """A picture whose header has been read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is refused is refused by us, with its place
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                yield image
    except RowError:
        raise
    except UnidentifiedImageError:
        got = "no picture" if _bytes(source) else "an empty file"
        raise no_picture(source, got, "a picture: JPEG, PNG, WebP, BMP, TIFF …") from None
    except Image.DecompressionBombError:
        raise _bomb(source) from None
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError) as error:
        raise no_picture(source, " ".join(str(error).split()), "a whole picture") from None


def _check(image: Any, source: str | bytes) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _bomb(source, width, height)
    if getattr(image, "n_frames", 1) > 1:
        need = "one picture; those that move are videos"
        raise no_picture(source, f"{image.n_frames} frames ({image.format})", need)
    if image.mode not in _READ:
        kinds = {"CMYK": "CMYK, colours for print", "F": "numbers of 32 bits"}
        got = kinds.get(image.mode, f"16 or 32 bits a colour ({image.mode})")
        raise no_picture(source, got, "RGB or grey in 8 bits", hint="convert the file to RGB first")


def _bomb(source: str | bytes, width: int = 0, height: int = 0) -> RowError:
    got = f"{width:,} x {height:,} pixels" if width else "a picture of billions of pixels"
    return no_picture(source, got, f"at most {MOST_PIXELS:,} pixels")


def _check_end(format: str, source: str | bytes) -> None:
    """Formats that mark their end: what is cut off lacks the mark."""
    marks = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "GIF": b"\x3b"}
    if format in marks and marks[format] not in _bytes(source, -4096):
        raise no_picture(source, "a file that ends early", "a whole picture")


def _bytes(source: str | bytes, end: int = 1) -> bytes:
    """The first bytes of a file, or its last where the number is negative."""
    if isinstance(source, bytes):
        return source[end:] if end < 0 else source[:end]
    with Path(source).open("rb") as file:
        if end < 0:
            file.seek(max(0, file.seek(0, io.SEEK_END) + end))
        return file.read(abs(end))
