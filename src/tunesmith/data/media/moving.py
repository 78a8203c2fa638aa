"""Videos and sounds, through PyAV: what their headers say, and as the model gets them.

How many frames or samples a model gets follows from the header, so that a row is counted without
decoding; what is decoded later is made to be that many.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tunesmith.data.ledger import RowError
from tunesmith.data.media.pictures import named
from tunesmith.errors import ConfigError

_INSTALL = 'pip install "tunesmith[vision]"'


class Film(NamedTuple):
    """What the header of a video says."""

    width: int
    height: int
    frames: int
    """In the whole video."""
    fps: float


def film_of(source: str | bytes) -> Film:
    """What a video is, from its header.

    Raises:
        RowError: no video, or one without frames.
        ConfigError: PyAV is not there.
    """
    with _opened(source, "video") as (_, stream):
        rate = float(stream.average_rate or stream.base_rate or 0)
        frames = stream.frames or round(_seconds(stream) * rate)
        if frames < 1 or not stream.width or rate <= 0:
            raise unreadable("video", source, "a video without frames")
        return Film(stream.width, stream.height, frames, rate)


def chosen(frames: int, fps: float, *, wanted_fps: float, most: int) -> np.ndarray:
    """Which frames of a video a model gets: spread evenly, first and last among them, (F,) int64.

    >>> chosen(100, 25.0, wanted_fps=2.0, most=128).tolist()
    [0, 14, 28, 42, 56, 70, 84, 99]
    """
    count = min(frames, most, max(1, int(frames / fps * wanted_fps)))
    return np.linspace(0, frames - 1, count).astype(np.int64)


def frames_of(source: str | bytes, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Some frames of a video, (F, height, width, 3) uint8.

    Args:
        source: path of a file, or its bytes.
        numbers: which, ascending; where the file ends before the header says, its last stands.
        size: width and height that they are scaled to.

    Raises:
        RowError: none can be decoded.
    """
    wanted, found = iter(numbers.tolist()), []
    following = next(wanted, None)
    with _opened(source, "video") as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            while following is not None and number >= following:
                picture = frame.to_image()
                picture = picture if picture.size == size else picture.resize(size)
                found.append(np.asarray(picture))
                following = next(wanted, None)
            if following is None:
                break
    if not found:
        raise unreadable("video", source, "a video without frames")
    return np.stack([*found, *[found[-1]] * (len(numbers) - len(found))])


def samples_of(source: str | bytes, rate: int) -> int:
    """How many samples a sound has at a rate, from its header.

    Raises:
        RowError: no sound, or an empty one.
        ConfigError: PyAV is not there.
    """
    with _opened(source, "audio") as (_, stream):
        found = round(_seconds(stream) * rate)
    if found < 1:
        raise unreadable("audio", source, "a sound without samples")
    return found


def sound_of(source: str | bytes, rate: int, samples: int) -> np.ndarray:
    """A sound in one channel, (samples,) f32 between -1 and 1.

    Args:
        source: path of a file, or its bytes.
        rate: samples of a second.
        samples: as `samples_of` says; what is decoded is cut or filled with silence.

    Raises:
        RowError: it cannot be decoded.
    """
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    parts: list[np.ndarray] = []
    with _opened(source, "audio") as (container, stream):
        for frame in container.decode(stream):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    whole = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(whole):
        raise unreadable("audio", source, "a sound without samples")
    return np.pad(whole[:samples], (0, max(0, samples - len(whole)))).astype(np.float32)


def unreadable(kind: str, source: object, got: object) -> RowError:
    """A file that is not used as a video or a sound."""
    need = {"video": "a video with frames", "audio": "a sound with samples"}[kind]
    return RowError.of(f"{kind} that cannot be read", named(source), got=got, need=need)


def _seconds(stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    whole = stream.container.duration
    return 0.0 if whole is None else whole / 1_000_000


@contextmanager
def _opened(source: str | bytes, kind: str) -> Iterator[tuple[Any, Any]]:
    """A container and its first stream of a kind."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            f"{kind}s", got="no package av", need="PyAV, which reads videos and sounds",
            hint=_INSTALL,
        ) from error  # fmt: skip
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source) as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise unreadable(kind, source, f"a file without {kind}")
            yield container, streams[0]
    except RowError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(kind, source, " ".join(str(error).split())[:120]) from None
