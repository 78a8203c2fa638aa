"""A vision-language model out of a language model and a vision tower."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import BeforeValidator

from tunesmith.config.kinds import Section, Text, Whole

_REFUSED = {
    "mlp": "mlp2x_gelu; transformers has no class that joins any tower to any language model by "
    "more than two layers",
    "qformer": "mlp2x_gelu; transformers' Q-Formers for any language model (BLIP-2, InstructBLIP) "
    "have a vision tower of their own and compute no text without a picture",
}
"""Projectors of other programs that no class of transformers has, with what to take and why."""


def _projector(value: object) -> object:
    """`mlpNx_gelu` and the others that LLaVA's and TinyLLaVA's run files know, each by its name."""
    said = str(value)
    kind = "mlp" if re.fullmatch(r"mlp([3-9]|\d{2,})x_gelu", said) else said
    if kind in _REFUSED:
        raise ValueError(_REFUSED[kind])
    return value


class Assemble(Section):
    """What `tunesmith assemble` joins to the language model of `model_name_or_path`."""

    vision_tower: Text | None = None
    """The vision encoder: a local directory or the id of a model on the hub (CLIP, SigLIP, DINOv2,
    DINOv3, ViT, AIMv2, InternViT ...)."""
    mm_projector_type: Annotated[
        Literal["mlp2x_gelu", "mlp1x_gelu", "linear", "identity", "resampler"],
        BeforeValidator(_projector),
    ] = "mlp2x_gelu"
    """What leads from the tower into the language model: two layers with a GELU between them
    (LLaVA-1.5), one (`linear`, also `mlp1x_gelu`), none (`identity`, for two of one width), or a
    perceiver that makes `num_queries` tokens of every picture (`resampler`, of Idefics 2)."""
    num_queries: Annotated[Whole, Ge(1), Le(4096)] = 64
    """Tokens that a `resampler` makes of a picture."""
    mm_vision_select_layer: Annotated[Whole, Ge(-1000), Le(1000)] = -2
    """Hidden states of which layer of the tower are looked at; -2: of the last but one. A
    `resampler` looks at the last ones, after the tower's own norm."""
