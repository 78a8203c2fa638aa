"""SmolVLM and Idefics 3: a picture in rows of tiles, each named by its row and column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from tunesmith.data.media.family import Family, Slot
from tunesmith.types import Media


class SmolVlm(Family):
    """`<image>` becomes the tiles of the picture and the whole of it, each between marks."""

    types = ("smolvlm", "idefics3")

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures, and videos where the processor takes them."""
        found = {"image": Slot(self.processor.image_token)}
        if hasattr(self.processor, "video_token"):
            found["video"] = Slot(self.processor.video_token)
        return found

    def inputs(self, media: Sequence[Media]) -> dict[str, Tensor]:
        """One by one: called for a picture and a video at once, the processor loses the picture."""
        parts = [super(SmolVlm, self).inputs([medium]) for medium in media]
        return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
