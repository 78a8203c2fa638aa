"""Idefics 2: a resampler makes the same few tokens of every picture, between two marks."""

from __future__ import annotations

from functools import cached_property

from tunesmith.data.media.family import Family, Slot
from tunesmith.types import Span


class Idefics2(Family):
    """`<image>` becomes a mark, as many tokens as the resampler has latents, and the mark again."""

    types = ("idefics2",)

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.image_token)}

    def arranged(self, spans: list[Span]) -> list[Span]:
        """As the processor does: one mark between two pictures, a space before a word after one."""
        mark, found = self.processor.fake_image_token, list[Span]()
        for span in spans:
            after = bool(found) and found[-1].medium is not None and span.text
            if after and span.medium is not None:
                span = span._replace(text=span.text.removeprefix(mark))
            elif after and not span.text[0].isspace() and span.text[0] != "<":
                found.append(Span(" "))
            found.append(span)
        return found

    @cached_property
    def token_ids(self) -> frozenset[int]:
        """The picture's tokens and the mark around them."""
        mark = self.backend.token_to_id(self.processor.fake_image_token)
        return super().token_ids | {mark}
