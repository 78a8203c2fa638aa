"""Videos and sounds: what headers say is what the model gets."""

import io
import wave

import numpy as np
import pytest

from tunesmith.data.ledger import RowError
from tunesmith.data.media.moving import chosen, film_of, frames_of, samples_of, sound_of

av = pytest.importorskip("av")


def film(frames: int = 30, fps: int = 10) -> bytes:
    """A film whose frames become lighter, one by one."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            shade = np.full((48, 64, 3), 8 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def sound(samples: int, rate: int, channels: int = 1) -> bytes:
    """A tone of 440 Hz."""
    out, time = io.BytesIO(), np.arange(samples) / rate
    tone = (9000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(tone, channels).tobytes())
    return out.getvalue()


def test_the_frames_that_are_asked_for_come():
    data = film()
    assert film_of(data) == (64, 48, 30, 10.0)
    numbers = chosen(30, 10.0, wanted_fps=2.0, most=99)
    assert numbers.tolist() == [0, 5, 11, 17, 23, 29]
    found = frames_of(data, numbers, (64, 48))
    assert found.shape == (6, 48, 64, 3)
    assert np.abs(found.mean((1, 2, 3)) - 8 * numbers).max() < 6
    assert frames_of(data, numbers, (16, 12)).shape == (6, 12, 16, 3)


def test_a_film_that_ends_early_gives_its_last_frame_again():
    found = frames_of(film(), np.array([0, 29, 40]), (64, 48))
    assert np.array_equal(found[1], found[2])


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_of_any_rate_have_as_many_samples_as_the_header_says(rate, channels):
    data = sound(rate // 2 + 7, rate, channels)
    wanted = samples_of(data, 16_000)
    assert wanted == round((rate // 2 + 7) / rate * 16_000)
    found = sound_of(data, 16_000, wanted)
    assert found.shape == (wanted,)
    crossings = np.count_nonzero(np.diff((found[400:-400] > 0).astype(int)) > 0)
    assert abs(crossings / ((wanted - 800) / 16_000) - 440) < 8


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (film_of, b"no film"),
        (film_of, sound(100, 8000)),
        (lambda data: samples_of(data, 16_000), b""),
        (lambda data: samples_of(data, 16_000), film()),
    ],
)
def test_what_is_neither_is_refused(read, data):
    with pytest.raises(RowError, match="bytes of the row"):
        read(data)
