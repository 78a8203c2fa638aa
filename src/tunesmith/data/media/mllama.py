"""Llama 3.2 Vision: one token for a picture, which layers of their own attend to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tunesmith.data.media.family import Family, Header, Slot
from tunesmith.types import Batch, Media


class Mllama(Family):
    """`<|image|>` stays one token; tokens behind it attend to its tiles."""

    types = ("mllama",)
    alone = True

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.image_token)}

    def expanded(self, header: Header, medium: Any) -> str:
        """The token itself."""
        return self.slots["image"].token

    def inputs(self, media: Sequence[Media]) -> dict[str, Tensor]:
        """Tiles of all pictures of one document; which token sees them is in `beside`."""
        images = [self.open(medium) for medium in media]
        made = self.processor.image_processor([images], return_tensors="pt")
        self._tiles = made.pop("num_tiles")
        return dict(made)

    def beside(self, batch: Batch) -> dict[str, Tensor]:
        """Which tiles each token attends to: those of the last picture before it."""
        from transformers.models.mllama.processing_mllama import (
            convert_sparse_cross_attention_mask_to_dense,
            get_cross_attention_token_mask,
        )

        ids = batch.ids_T.tolist()
        (number,) = self.token_ids
        made = convert_sparse_cross_attention_mask_to_dense(
            [get_cross_attention_token_mask(ids, number)],
            num_tiles=self._tiles,
            max_num_tiles=self.processor.image_processor.max_image_tiles,
            length=len(ids),
        )
        return {"cross_attention_mask": torch.from_numpy(made)}

    def later(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tiles that the last token attends to."""
        return {"cross_attention_mask": inputs["cross_attention_mask"][:, -1:]}
