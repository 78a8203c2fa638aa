"""MiniCPM-V 4.6 and 4.7: a picture whole and in slices, with its number in the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tunesmith.data.media.family import Family, Slot
from tunesmith.errors import ModelError
from tunesmith.types import Batch, Span


class MiniCpmV(Family):
    """A placeholder becomes its number, the tokens of the whole and, row by row, of its slices."""

    types = ("minicpmv4_6",)
    tower = "vision_tower"
    joined = 1
    counted: tuple[str, ...] = ("image", "video")
    """Kinds whose media are numbered, each from 0 in every conversation."""

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures and videos."""
        processor = self.processor
        return {"image": Slot(processor.image_token), "video": Slot(processor.video_token)}

    def options(self, kind: str) -> dict[str, Any]:
        """How many patches become a token: as the model was made."""
        return {"downsample_mode": self.config.downsample_mode}

    def arranged(self, spans: list[Span]) -> list[Span]:
        """The same; alone every medium is the first, so here they get their numbers."""
        opened = self.processor.image_id_start_token
        closed = self.processor.image_id_end_token
        number = dict.fromkeys(self.counted, 0)
        found = []
        for span in spans:
            if span.medium is not None and span.text.startswith(opened):
                video = self.processor.video_token in span.text
                kind = "video" if video else "image"
                behind = span.text.partition(closed)[2]
                span = span._replace(text=f"{opened}{number[kind]}{closed}{behind}")
                number[kind] += 1
            found.append(span)
        return found

    def control_text(self) -> str:
        """Marks around slices and numbers, too."""
        names = ("image", "slice", "image_id")
        marks = [
            getattr(self.processor, f"{name}_{end}_token")
            for name in names
            for end in ("start", "end")
        ]
        return " ".join([super().control_text(), *marks])


class MiniCpmOcr(MiniCpmV):
    """Refused: its processor looks at the letters in a picture to decide how large it becomes."""

    types = ("minicpm_ocr",)

    def complete(self) -> None:
        """Say so.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "model_type", got="minicpm_ocr, which reads a picture to decide how many tokens it has",
            need="a model whose tokens follow from a picture's size, which every header says",
            hint="MiniCPM-V-4.6 (minicpmv4_6)",
        )  # fmt: skip


class MiniCpmV47(MiniCpmV):
    """The same; its tokens have rows and columns on the canvas of their picture."""

    types = ("minicpmv4_7",)
    counted = ("image",)

    def positions(self, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Time, row and column of every token, document by document."""
        names = {"image": "target_sizes", "video": "target_sizes_videos"}
        parts, taken = [], dict.fromkeys(names, 0)
        for start, end in pairwise(batch.offsets):
            ids_L = batch.ids_T[start:end]
            kinds_L = self._kinds(ids_L)
            more: dict[str, Any] = {}
            for number, (kind, first) in enumerate(taken.items(), start=1):
                last = first + _runs(kinds_L == number)
                if last > first:
                    more[names[kind]] = inputs[names[kind]][first:last]
                taken[kind] = last
            found, _ = self._body.get_rope_index(
                ids_L[None], mm_token_type_ids=kinds_L[None], **more
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


def _runs(here_L: Tensor) -> int:
    """How many stretches of true there are."""
    before_L = torch.cat((here_L.new_zeros(1), here_L[:-1]))
    return int((here_L & ~before_L).sum())
