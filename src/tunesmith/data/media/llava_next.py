"""LLaVA-NeXT: a picture whole and in tiles, as many as its shape asks for."""

from __future__ import annotations

from functools import cached_property

from tunesmith.data.media.family import Slot
from tunesmith.data.media.llava import Llava


class LlavaNext(Llava):
    """`<image>` becomes the patches of the whole, those of the tiles, and ends of rows."""

    types = ("llava_next",)


class LlavaNextVideo(LlavaNext):
    """The same, and videos: `<video>` becomes the pooled patches of every frame."""

    types = ("llava_next_video",)

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos."""
        token = self.processor.video_token
        return {"image": Slot(self.processor.image_token), "video": Slot(token)}
