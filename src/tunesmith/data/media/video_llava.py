"""Video-LLaVA: pictures and videos of eight frames through one size of tile."""

from __future__ import annotations

from functools import cached_property

from tunesmith.data.media.family import Family, Slot


class VideoLlava(Family):
    """`<image>` and `<video>` become one token for each patch of each frame."""

    types = ("video_llava",)
    tower = "image_tower"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos."""
        processor = self.processor
        return {"image": Slot(processor.image_token), "video": Slot(processor.video_token)}
