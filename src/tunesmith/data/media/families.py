"""Which family a model belongs to, by the `model_type` of its config.

A family is a class in a file beside this one; it is named here, and that is all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import tokenizers

from tunesmith.data.media.family import Family, Limits

_WHERE = {
    "gemma3": ("Gemma3",),
    "idefics2": ("Idefics2",),
    "internvl": ("InternVl",),
    "llava": ("Llava",),
    "llava_next": ("LlavaNext", "LlavaNextVideo"),
    "minicpm": ("MiniCpmOcr", "MiniCpmV", "MiniCpmV47"),
    "mllama": ("Mllama",),
    "paligemma": ("PaliGemma",),
    "pixtral": ("Pixtral",),
    "qwen_audio": ("QwenAudio",),
    "qwen_vl": ("QwenVl", "Qwen3Vl"),
    "smolvlm": ("SmolVlm",),
    "video_llava": ("VideoLlava",),
}
"""File of this folder -> the families in it."""


def kinds() -> dict[str, type[Family]]:
    """Every `model_type` that has a family of its own."""
    found: dict[str, type[Family]] = {}
    for file, names in _WHERE.items():
        module = import_module(f"{__package__}.{file}")
        for name in names:
            kind: type[Family] = getattr(module, name)
            found |= dict.fromkeys(kind.types, kind)
    return found


def family_of(processor: Any, config: Any, backend: tokenizers.Tokenizer, limits: Limits) -> Family:
    """What a model makes of media; models without a family of their own are taken as `Family`.

    Args:
        processor: transformers' processor of the model.
        config: of the model.
        backend: the checked tokenizer.
        limits: what the run says of media.
    """
    found = kinds()
    vision = getattr(getattr(config, "vision_config", None), "model_type", None)
    kind = found.get("pixtral" if vision == "pixtral" else config.model_type, Family)
    return kind(processor, config, backend, limits)
