"""Idefics 2: a resampler makes the same few tokens of every picture, however many patches it has.

It is the one class of transformers that has a resampler and takes any language model. Its tower is
a SigLIP of its own, into which the weights of SigLIP (and of the towers of Idefics 2 and 3 and of
SmolVLM, which are SigLIP) fit; it gives its last hidden states, after the norm.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from tunesmith.errors import ModelError
from tunesmith.models.frame import Frame, is_beside
from tunesmith.models.tower import Tower, probes

MARKS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
"""What its processor writes around pictures and in their place, and one that it adds if missing."""


def idefics2(text: Any, tower: Tower, queries: int, *, number: int, loud: float) -> Frame:
    """Idefics 2 with a resampler that is to learn.

    Args:
        text: config of the language model.
        tower: a SigLIP.
        queries: tokens of each picture, `num_queries`.
        number: id of the token that stands for pictures.
        loud: root mean square of a word's numbers in the language model; a picture's tokens begin
            as loud as that.

    Raises:
        ModelError: see `fits`.
    """
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2Processor

    vision, images = fits(text, tower)
    config = Idefics2Config(
        vision_config=vision,
        text_config=text.to_dict(),
        perceiver_config={
            "hidden_size": text.hidden_size, "resampler_n_latents": queries,
            "rms_norm_eps": getattr(text, "rms_norm_eps", 1e-6),
        },
        image_token_id=number,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )  # fmt: skip
    model: Any = Idefics2ForConditionalGeneration(config)
    body = model.model
    with torch.no_grad():  # all alike, as the class makes them, they would learn the same for long
        body.connector.perceiver_resampler.latents.normal_()
        body.connector.perceiver_resampler.norm.weight.fill_(loud)

    def processor(tokenizer: Any) -> Any:
        return Idefics2Processor(images, tokenizer, image_seq_len=queries)

    def wanted(made: Any, eyes: Any, pictures: Tensor) -> Tensor:
        states = eyes(pictures).last_hidden_state
        seen = torch.ones(states.shape[:2], dtype=torch.bool)
        return made.model.connector(states, attention_mask=seen)

    return Frame(
        "Idefics 2", model, body.text_model, body.vision_model, body.connector, processor, queries,
        "resampler", given=lambda pictures: pictures[None], wanted=wanted,
    )  # fmt: skip


def fits(text: Any, tower: Tower) -> tuple[dict[str, Any], Any]:
    """The config of the tower in the words of Idefics 2, and its image processor.

    Raises:
        ModelError: another tower, one whose pictures the processor of Idefics 2 does not make, or
            a language model whose config lacks what the class asks it for.
    """
    missing = [key for key in ("hidden_act", "intermediate_size") if not hasattr(text, key)]
    if missing:
        raise ModelError(
            "mm_projector_type",
            got=f"resampler, beside {text.model_type} without {' and '.join(missing)}",
            need="a language model whose config has both: Idefics 2 builds its projector of them",
            hint="mlp2x_gelu",
        )  # fmt: skip
    return _vision(tower), _images(tower)


def _vision(tower: Tower) -> dict[str, Any]:
    """The tower's config in the words of Idefics 2.

    Raises:
        ModelError: the weights of the tower have no place there.
    """
    from transformers.models.idefics2 import modeling_idefics2 as idefics

    kind = idefics.Idefics2VisionConfig
    known = {field.name for field in fields(kind)} & vars(tower.config).keys()
    said = {name: getattr(tower.config, name) for name in known - {"model_type"}}
    with torch.device("meta"):
        twin = idefics.Idefics2VisionTransformer._from_config(kind(**said))
    held = {name: tensor.shape for name, tensor in twin.state_dict().items()}
    own = {name: t.shape for name, t in tower.model.state_dict().items() if not is_beside(name)}
    if held != own:
        raise ModelError(
            "mm_projector_type", got=f"resampler, beside {tower.config.model_type}",
            need="a SigLIP as vision tower: transformers' one resampler for any language model "
            "(Idefics 2) has such a tower of its own",
            hint="mlp2x_gelu",
        )  # fmt: skip
    return said


def _images(tower: Tower) -> Any:
    """The image processor of Idefics 2 that makes the pictures which the tower's own makes.

    Raises:
        ModelError: they differ.
    """
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    own = tower.images.to_dict()
    names = ("image_mean", "image_std", "rescale_factor", "resample", "do_rescale", "do_normalize")
    high, wide = tower.side
    images = Idefics2ImageProcessorPil(
        size={"height": high, "width": wide}, **{name: own[name] for name in names if name in own}
    )
    for picture in probes():
        there = images(picture, return_tensors="pt")["pixel_values"][0]
        here = tower.images(picture, return_tensors="pt")["pixel_values"]
        if there.shape != here.shape or not torch.allclose(there, here):
            raise ModelError(
                "mm_projector_type", got="resampler, beside an image processor that cuts pictures",
                need="one that only brings them to a size, as SigLIP's does: that of Idefics 2, "
                "which goes with the resampler, does no more",
                hint="mlp2x_gelu",
            )  # fmt: skip
    return images
