"""Vision encoders that LLaVA can look through, each shown by a probe to be one.

LLaVA hands a tower pictures of one size and takes the hidden states of one layer, one position for
each patch. What a tower does is seen by asking it; its config says too little, and sometimes other
things (DINOv2's names a size that its image processor does not make).

Shape letters: N pictures, L positions of the tower, W width.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.errors import ModelError
from tunesmith.models.frame import is_beside
from tunesmith.models.load import explained, quiet

_WITHIN = {r"^(model\.)?(vision_tower|vision_model|image_tower)\.(vision_model\.)?": ""}
"""Where models that see keep their towers, and what is left of the name."""


class Tower(NamedTuple):
    """A vision encoder, as one probe has shown it."""

    model: Any
    config: Any
    images: Any
    """Its image processor."""
    side: tuple[int, int]
    """Height and width of the pictures that its image processor makes."""
    patch: int
    extra: int
    """Positions beside those of patches, which come first."""

    @property
    def strategy(self) -> str:
        """What LLaVA does about the first position: drops it where it is no patch."""
        return "default" if self.extra == 1 else "full"

    @property
    def tokens(self) -> int:
        """Of each picture, in the language model."""
        grid = (self.side[0] // self.patch) * (self.side[1] // self.patch)
        return grid + (0 if self.extra == 1 else self.extra)

    def pictures(self) -> Tensor:
        """Two that look like nothing, (2, 3, H, W) f32."""
        drawn = torch.Generator().manual_seed(0)
        return torch.randn(2, 3, *self.side, generator=drawn)


def probes() -> list[Any]:
    """A broad picture and a high one, of noise."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(0)
    return [
        Image.fromarray(drawn.integers(0, 256, (high, wide, 3), dtype=np.uint8))
        for wide, high in ((48, 32), (32, 96))
    ]


def open_tower(directory: Path, *, layer: int) -> Tower:
    """A vision encoder with its image processor.

    Args:
        directory: plain transformers directory, of the encoder or of a model that has one.
        layer: whose hidden states will be looked at.

    Raises:
        ModelError: no vision encoder, one that LLaVA cannot look through, or no such layer.
    """
    from transformers import AutoConfig, AutoImageProcessor

    wanted = "a vision encoder"
    with quiet(), explained(directory, None, wanted):
        whole = AutoConfig.from_pretrained(str(directory), local_files_only=True)
    config = getattr(whole, "vision_config", whole)
    kind = _class_of(config, directory)
    _calm(config)
    with quiet(), explained(directory, config, wanted):
        model = _loaded(kind, config, directory)
    with quiet(), explained(directory, config, "an image processor"):
        images = AutoImageProcessor.from_pretrained(str(directory), local_files_only=True)
    patch = getattr(config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    if not isinstance(patch, int):
        raise _unfit(directory, f"{config.model_type}, which has no grid of patches")
    side = _side(images, directory)
    found = Tower(model.eval(), config, images, side, patch, extra=0)
    return found._replace(extra=_probed(found, directory, layer))


def _calm(config: Any) -> None:
    """Let a tower see the same in training as elsewhere, in place: runs are repeatable."""
    for key, value in vars(config).items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
        elif key in ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"):  # of DINOv3
            setattr(config, key, None)


def _class_of(config: Any, directory: Path) -> Any:
    """The class that LLaVA builds of a tower's config.

    Raises:
        ModelError: none, or one that is not asked with pictures alone.
    """
    from transformers import MODEL_MAPPING

    if type(config) not in MODEL_MAPPING:
        raise _unfit(
            directory,
            f"{config.model_type}, which transformers builds inside its own model only",
        )
    kind: Any = MODEL_MAPPING[type(config)]
    kind = kind[0] if isinstance(kind, list | tuple) else kind
    asked = inspect.signature(inspect.unwrap(kind.forward)).parameters
    if "pixel_values" not in asked:
        raise _unfit(directory, f"{config.model_type}, which does not take pictures")
    beside = [
        one.name
        for one in asked.values()
        if one.default is one.empty
        and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and one.name not in ("self", "pixel_values")
    ]
    if beside:
        hint = "a SigLIP 2 of one resolution" if config.model_type.startswith("siglip2") else ""
        raise _unfit(
            directory,
            f"{config.model_type}, which takes {', '.join(beside)} beside the pictures",
            hint=hint,
        )
    return kind


def _loaded(kind: Any, config: Any, directory: Path) -> Any:
    """The tower in fp32, out of its own files or those of the model that it is a part of.

    Raises:
        ModelError: some of its weights are in neither.
    """
    missing: list[str] = []
    for names in (None, _WITHIN):
        model, report = kind.from_pretrained(
            str(directory), config=config, dtype=torch.float32, local_files_only=True,
            attn_implementation="eager", output_loading_info=True, use_safetensors=True,
            key_mapping=names,
        )  # fmt: skip
        missing = sorted(name for name in report["missing_keys"] if not is_beside(name))
        if not missing:
            return model
    raise ModelError(
        str(directory), got=f"weights that are not there: {', '.join(missing[:3])}",
        need="the weights of a vision tower",
    )  # fmt: skip


def _side(images: Any, directory: Path) -> tuple[int, int]:
    """Height and width of the pictures that an image processor makes.

    Raises:
        ModelError: of several sizes.
    """
    sides = set()
    for picture in probes():
        with explained(directory, None, "an image processor"):
            made = images(picture, return_tensors="pt")["pixel_values"]
        if not isinstance(made, Tensor) or made.shape[:-2] != (1, 3):
            raise _unfit(directory, "an image processor that makes several pictures of one")
        sides.add((int(made.shape[-2]), int(made.shape[-1])))
    if len(sides) > 1:
        said = " and ".join(f"{w} x {h}" for h, w in sorted(sides))
        raise _unfit(
            directory, f"an image processor that makes pictures of several sizes: {said}",
            hint="do_center_crop and crop_size in its preprocessor_config.json",
        )  # fmt: skip
    return sides.pop()


@torch.no_grad()  # BEiT keeps what it computes for later passes, which may be training
def _probed(tower: Tower, directory: Path, layer: int) -> int:
    """How many positions the tower has beside those of patches.

    Raises:
        ModelError: LLaVA cannot look through it, or it has no such layer.
    """
    kind, (high, wide) = tower.config.model_type, tower.side
    try:
        states = tower.model(tower.pictures(), output_hidden_states=True).hidden_states or ()
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        said = " ".join(str(error).split())[:80]
        got = f"{kind}, which cannot take the pictures of its image processor, {wide} x {high}"
        raise _unfit(directory, f"{got}: {said}") from error
    if not -len(states) <= layer < len(states):
        raise ModelError(
            "mm_vision_select_layer", got=layer,
            need=f"one of the {len(states)} hidden states of {directory}: {-len(states)} to "
            f"{len(states) - 1}",
        )  # fmt: skip
    if len({state.shape[1:] for state in states}) > 1 or states[layer].dim() != 3:
        shapes = dict.fromkeys(" x ".join(map(str, state.shape[1:])) for state in states)
        got = f"{kind}, which keeps no position for each patch: {', then '.join(shapes)}"
        raise _unfit(directory, got)
    extra = states[layer].shape[1] - (high // tower.patch) * (wide // tower.patch)
    if states[layer].shape[0] != 2 or extra < 0:
        got = f"{kind}, whose hidden states are {tuple(states[layer].shape)} for two pictures"
        raise _unfit(directory, got)
    with torch.random.fork_rng(devices=[]):
        again = tower.model.train()(tower.pictures(), output_hidden_states=True).hidden_states
    tower.model.eval()
    if not torch.equal(states[layer], again[layer]):
        raise _unfit(directory, f"{kind}, which draws random numbers while it looks")
    return extra


def _unfit(directory: Path, got: str, *, hint: str = "") -> ModelError:
    return ModelError(
        str(directory), got=got,
        need="a vision encoder that LLaVA can look through: it takes pictures of one size, and "
        "gives one position for each patch of them",
        hint=hint,
    )  # fmt: skip
