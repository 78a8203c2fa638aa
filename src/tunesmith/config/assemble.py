"""A vision-language model out of a language model and a vision tower."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from tunesmith.config.kinds import Section, Text, Whole


class Assemble(Section):
    """What `tunesmith assemble` joins to the language model of `model_name_or_path`."""

    vision_tower: Text | None = None
    """The vision encoder: a local directory or the id of a model on the hub (CLIP, SigLIP, DINOv2,
    ViT ...)."""
    mm_projector_type: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    """What leads from the tower into the language model: two layers with a GELU between them
    (LLaVA-1.5), or without (`linear`)."""
    mm_vision_select_layer: Annotated[Whole, Ge(-1000), Le(1000)] = -2
    """Hidden states of which layer of the tower are looked at; -2: of the last but one."""
