"""Gemma 3: pictures of one size between two marks; the tokens of a picture see one another."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tunesmith.data.media.family import Family, Slot
from tunesmith.types import Batch


class Gemma3(Family):
    """`<start_of_image>` becomes itself, as many soft tokens, an end, and blank lines around."""

    types = ("gemma3",)
    alone = True
    tower = "vision_tower"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.boi_token)}

    def options(self, kind: str) -> dict[str, Any]:
        """Parts of pictures that are far from square, where the run asks for them."""
        return {"do_pan_and_scan": True} if self.limits.image_do_pan_and_scan else {}

    def beside(self, batch: Batch) -> dict[str, Tensor]:
        """Which tokens stand for pictures."""
        here = torch.isin(batch.ids_T, torch.tensor(sorted(self.soft)))
        return {"token_type_ids": here.long()[None]}

    @cached_property
    def soft(self) -> set[int]:
        """The token that a picture is made of."""
        return {self.config.image_token_id}
