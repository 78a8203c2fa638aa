"""The parts of a model that sees or hears: its tower, what projects into the text, the text model.

The keys `freeze_vision_tower`, `freeze_multi_modal_projector` and `freeze_language_model` speak of
them. Of a model that only reads, everything is the language model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from tunesmith.models.classes import sees_or_hears

Part = Literal["vision_tower", "multi_modal_projector", "language_model"]
_PROJECTORS = {
    "multi_modal_projector",
    "mm_projector",
    "connector",
    "merger",
    "deepstack_merger_list",
    "image_newline",
    "embed_vision",
    "embed_audio",
}
"""Names of modules and parameters between a tower and the text model."""


def parts(model: Any) -> Callable[[str], Part]:
    """Which part a parameter or module belongs to, by its name in the model."""
    if not sees_or_hears(model.config):
        return lambda name: "language_model"
    text = (model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings())
    whole = {path for path, module in model.named_modules() if any(module is m for m in text)}

    def of(name: str) -> Part:
        if any(name == path or name.startswith(f"{path}.") for path in whole):
            return "language_model"
        return "multi_modal_projector" if set(name.split(".")) & _PROJECTORS else "vision_tower"

    return of


def sizes(model: Any, *, learned: bool = False) -> dict[Part, int]:
    """Parameters of each part, tied ones once.

    Args:
        model: of transformers.
        learned: only those that learn.
    """
    found: dict[Part, int] = {"vision_tower": 0, "multi_modal_projector": 0, "language_model": 0}
    of = parts(model)
    for name, parameter in model.named_parameters():
        found[of(name)] += parameter.numel() if parameter.requires_grad or not learned else 0
    return found
