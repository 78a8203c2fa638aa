"""How pictures, videos and sounds are read."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from tunesmith.config.kinds import Count, Flag, Positive, Section, Whole


class Media(Section):
    """What a model that sees or hears gets of the files in the rows; the same when it answers."""

    image_max_pixels: Count = 768 * 768
    """Most pixels of a picture; larger ones are made smaller before the model's own processor."""
    image_min_pixels: Count = 32 * 32
    """Fewest pixels of a picture; smaller ones are made larger."""
    image_do_pan_and_scan: Flag = False
    """Models of the family gemma3 see pictures that are far from square in parts, too."""
    crop_to_patches: Flag = False
    """Models of the family internvl see a picture in parts of full size, too."""
    video_max_pixels: Count = 256 * 256
    """Most pixels of a frame of a video."""
    video_min_pixels: Count = 16 * 16
    """Fewest pixels of a frame of a video."""
    video_fps: Positive = 2.0
    """Frames that are taken of each second of a video."""
    video_maxlen: Annotated[Whole, Ge(1)] = 128
    """Most frames that are taken of a video."""
    audio_sampling_rate: Count = 16_000
    """Samples of a second of sound; files of another rate are sampled anew."""
    cache_vision_features: Flag = False
    """Compute what a frozen vision tower makes of each picture once, and keep it on disk for
    all epochs and later runs; the plan says how large that becomes."""
