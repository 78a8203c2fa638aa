"""Which of transformers' classes a model is: one that reads text, or one that sees or hears too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def sees_or_hears(config: PretrainedConfig) -> bool:
    """Whether the model of a config takes pictures, videos or sounds beside text."""
    import transformers

    for name in ("MODEL_FOR_MULTIMODAL_LM_MAPPING", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING"):
        if type(config) in getattr(transformers, name, {}):
            return True
    return False


def auto_class(config: PretrainedConfig) -> Any:
    """The Auto class whose models have everything that the config speaks of.

    Some configs belong to two classes, of which the causal language model leaves the tower out.
    """
    import transformers

    for kind in ("MULTIMODAL_LM", "IMAGE_TEXT_TO_TEXT"):
        if type(config) in getattr(transformers, f"MODEL_FOR_{kind}_MAPPING", {}):
            name = {"MULTIMODAL_LM": "MultimodalLM", "IMAGE_TEXT_TO_TEXT": "ImageTextToText"}[kind]
            return getattr(transformers, f"AutoModelFor{name}")
    return transformers.AutoModelForCausalLM


def class_of(config: PretrainedConfig) -> Any:
    """The class of the config's model; `None`: transformers has none for it."""
    import transformers

    names = ("MULTIMODAL_LM", "IMAGE_TEXT_TO_TEXT", "CAUSAL_LM")
    tables = [getattr(transformers, f"MODEL_FOR_{name}_MAPPING", {}) for name in names]
    return next((table[type(config)] for table in tables if type(config) in table), None)
