"""Pixtral and Mistral 3: pictures of any shape, row by row, each row with a token at its end."""

from __future__ import annotations

from functools import cached_property

from tunesmith.data.media.family import Family, Slot


class Pixtral(Family):
    """`[IMG]` becomes one token for each patch, `[IMG_BREAK]` after rows, `[IMG_END]` at last."""

    types = ("pixtral", "mistral3")
    tower = "vision_tower"
    joined = 1

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.image_token)}
