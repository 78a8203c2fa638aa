"""InternVL: pictures whole or in tiles, videos as numbered frames."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tunesmith.data.media.family import Family, Slot


class InternVl(Family):
    """`<IMG_CONTEXT>` becomes the tokens of every tile between `<img>` and `</img>`."""

    types = ("internvl",)
    tower = "vision_tower"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos."""
        processor = self.processor
        return {"image": Slot(processor.image_token), "video": Slot(processor.video_token)}

    def options(self, kind: str) -> dict[str, Any]:
        """Tiles, where the run asks for them."""
        return {"crop_to_patches": self.limits.crop_to_patches} if kind == "image" else {}
