"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: pictures and videos of any shape, with positions in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tunesmith.data.media.family import Family, Slot
from tunesmith.types import Batch

_START, _END = "<|vision_start|>", "<|vision_end|>"


class QwenVl(Family):
    """`<|image_pad|>` becomes one token for each 2 x 2 patches, `<|video_pad|>` likewise."""

    types = ("qwen2_vl", "qwen2_5_vl")
    tower = "visual"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos."""
        processor = self.processor
        return {
            "image": Slot(processor.image_token, _START, _END),
            "video": Slot(processor.video_token, _START, _END),
        }

    def positions(self, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Time, row and column of every token, document by document (M-RoPE, arXiv:2409.12191)."""
        parts, taken = [], dict.fromkeys(("image", "video"), 0)
        for (start, end), media in zip(pairwise(batch.offsets), batch.media, strict=True):
            ids_L = batch.ids_T[start:end]
            more: dict[str, Any] = {}
            for kind, first in taken.items():
                last = first + sum(medium.kind == kind for medium in media)
                if last > first:
                    more[f"{kind}_grid_thw"] = inputs[f"{kind}_grid_thw"][first:last]
                    if kind == "video" and "second_per_grid_ts" in inputs:
                        more["second_per_grid_ts"] = inputs["second_per_grid_ts"][first:last]
                taken[kind] = last
            found, _ = self._body.get_rope_index(
                ids_L[None], mm_token_type_ids=self._kinds(ids_L)[None], **more
            )
            parts.append(found[:, 0])
        return torch.cat(parts, 1)

    def _kinds(self, ids_L: Tensor) -> Tensor:
        """0 for text, 1 for pictures, 2 for videos, (L,) int32."""
        config = self.config
        image, video = ids_L == config.image_token_id, ids_L == config.video_token_id
        return image.int() + 2 * video.int()

    @cached_property
    def _body(self) -> Any:
        """The model without memory: its own code counts positions."""
        from transformers import AutoModel

        with torch.device("meta"):
            return AutoModel.from_config(self.config)


class Qwen3Vl(QwenVl):
    """The same; each frame of a video has its time written before it."""

    types = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos, whose frames have marks of their own."""
        return {**super().slots, "video": Slot(self.processor.video_token)}
