"""LLaVA, and what leads in it from a vision tower into a language model, by the names of run files.

`LlavaForConditionalGeneration` has one projector: two matrices and an activation between them. The
kinds here are those that it computes exactly, some of them with weights that are chosen: a second
matrix that changes nothing leaves one matrix (`linear`), two of them leave nothing (`identity`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.errors import ModelError
from tunesmith.models.frame import Frame
from tunesmith.models.tower import Tower


class Projector(NamedTuple):
    """A kind of projector inside LLaVA."""

    act: str
    """Between the two matrices, by transformers' names; `linear` is nothing at all."""
    bias: bool = True
    unchanging: tuple[str, ...] = ()
    """The matrices that begin as the identity."""


_ONE = Projector("linear", unchanging=("linear_2",))
PROJECTORS = {
    "mlp2x_gelu": Projector("gelu"),
    "mlp1x_gelu": _ONE,
    "linear": _ONE,
    "identity": Projector("linear", bias=False, unchanging=("linear_1", "linear_2")),
}


def keys_of(kind: str, seen: int, wanted: int) -> dict[str, Any]:
    """What LLaVA's config says of a projector.

    Args:
        kind: `mm_projector_type`.
        seen: width of the tower.
        wanted: width of the language model.

    Raises:
        ModelError: nothing between a tower and a language model of different widths.
    """
    if kind == "identity" and seen != wanted:
        raise ModelError(
            "mm_projector_type", got=f"identity, from {seen} numbers at a position to {wanted}",
            need="a vision tower as wide as the language model",
            hint="linear: one matrix from the one width to the other",
        )  # fmt: skip
    found = PROJECTORS[kind]
    return {"projector_hidden_act": found.act, "multimodal_projector_bias": found.bias}


@torch.no_grad()
def begin(module: nn.Module, kind: str) -> None:
    """Give a projector that has just been made the weights that make it of a kind, in place."""
    for name in PROJECTORS[kind].unchanging:
        layer = module.get_submodule(name)
        assert isinstance(layer, nn.Linear), "LLaVA's projector has two of them"
        nn.init.eye_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def llava(text: Any, tower: Tower, kind: str, *, layer: int, token: str, number: int) -> Frame:
    """LLaVA with a projector of a kind.

    Args:
        text: config of the language model.
        tower: whatever `open_tower` opens.
        kind: `mm_projector_type`.
        layer: of the tower.
        token: that stands for pictures.
        number: its id.

    Raises:
        ModelError: see `keys_of`.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=text.to_dict(),
        image_token_id=number,
        **keys_of(kind, tower.config.hidden_size, text.hidden_size),
        vision_feature_layer=layer,
        vision_feature_select_strategy=tower.strategy,
        image_seq_length=tower.tokens,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    model: Any = LlavaForConditionalGeneration(config)
    body = model.model
    begin(body.multi_modal_projector, kind)

    def processor(tokenizer: Any) -> Any:
        return LlavaProcessor(
            tower.images, tokenizer, patch_size=tower.patch, image_token=token,
            vision_feature_select_strategy=tower.strategy,
            num_additional_image_tokens=tower.extra,
        )  # fmt: skip

    def wanted(made: Any, eyes: Any, pictures: Tensor) -> Tensor:
        states = eyes(pictures, output_hidden_states=True).hidden_states[layer]
        return made.model.multi_modal_projector(
            states[:, 1 if tower.strategy == "default" else 0 :]
        )

    return Frame(
        "LLaVA", model, body.language_model, body.vision_tower, body.multi_modal_projector,
        processor, tower.tokens, tower.strategy, given=lambda pictures: pictures, wanted=wanted,
    )  # fmt: skip
