"""PaliGemma: pictures stand before everything, and all but the answer sees all but the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tunesmith.data.ledger import RowError
from tunesmith.data.media.family import Family, Header, Slot
from tunesmith.types import Batch, Media, Span


class PaliGemma(Family):
    """`<image>` becomes as many tokens, in front of bos; positions count from 1."""

    types = ("paligemma",)
    alone = True
    in_place = False
    tower = "vision_tower"

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.image_token)}

    def expanded(self, header: Header, medium: Any) -> str:
        """Every picture has the same number of tokens."""
        return self.slots["image"].token * self.processor.image_seq_length

    def inputs(self, media: Sequence[Media]) -> dict[str, Tensor]:
        """The processor of pictures alone: the whole one would lay the text out anew."""
        images = [self.open(medium) for medium in media]
        return dict(self.processor.image_processor(images, return_tensors="pt"))

    def arranged(self, spans: list[Span]) -> list[Span]:
        """Pictures first."""
        pictures = [span for span in spans if span.medium is not None]
        return [*pictures, *(span for span in spans if span.medium is None)]

    def beside(self, batch: Batch) -> dict[str, Tensor]:
        """0 for what is asked, 1 for the answer."""
        if not len(batch.predict_P):  # a prompt: all of it is asked
            return {"token_type_ids": torch.zeros_like(batch.ids_T)[None]}
        first, last = int(batch.predict_P[0]) + 1, int(batch.predict_P[-1]) + 1
        if len(batch.predict_P) != last - first + 1:
            raise RowError.of(
                "several answers for a model of one", "messages",
                got=f"{len(batch.predict_P)} learned tokens among {last - first + 1}",
                need="one question and its answer",
            )  # fmt: skip
        return {"token_type_ids": (torch.arange(len(batch.ids_T)) >= first).long()[None]}

    def positions(self, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """From 1."""
        return batch.positions_T + 1
