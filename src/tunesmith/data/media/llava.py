"""LLaVA-1.5 and what is built like it: every picture is cut to one size and has as many tokens."""

from __future__ import annotations

from functools import cached_property

from tunesmith.data.media.family import Family, Slot


class Llava(Family):
    """`<image>` becomes one token for each patch."""

    types = ("llava", "vipllava")
    tower = "vision_tower"

    def complete(self) -> None:
        """The first processors of LLaVA say nothing of patches; the config does."""
        processor, config = self.processor, self.config
        if getattr(processor, "patch_size", None) is None:
            processor.patch_size = config.vision_config.patch_size
        if getattr(processor, "vision_feature_select_strategy", None) is None:
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
            # CLIP's own token is dropped by "default" again
            processor.num_additional_image_tokens = 1

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Pictures."""
        return {"image": Slot(self.processor.image_token)}
