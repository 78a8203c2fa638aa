"""A model of transformers that is about to get its parts: what differs between its classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from tunesmith.errors import ModelError


class Frame(NamedTuple):
    """Places for a language model and a tower, and a projector between them that is ready."""

    name: str
    """Of the class, for people."""
    model: Any
    """`...ForConditionalGeneration`, with a head."""
    language_model: nn.Module
    vision_tower: nn.Module
    projector: nn.Module
    processor: Callable[[Any], Any]
    """transformers' processor of the model around a tokenizer of transformers."""
    tokens: int
    """Of each picture."""
    strategy: str
    """What is taken of a tower, in one word for people."""
    given: Callable[[Tensor], Tensor]
    """Pictures, (N, 3, H, W), as the model takes those of one row."""
    wanted: Callable[[Any, Any, Tensor], Tensor]
    """What a model that was written has to make of pictures: that model, the tower alone, and the
    pictures, to (N, tokens, W) of the language model."""


def put(there: nn.Module, source: nn.Module, where: Path | str) -> None:
    """Copy weights from one part to its place.

    Args:
        there: its place.
        source: the part; what it makes of hidden states beside them (poolers, heads) may stay.
        where: what to name.

    Raises:
        ModelError: they are built otherwise.
    """
    held = {name: tensor.shape for name, tensor in there.state_dict().items()}
    own = source.state_dict()
    wrong = [name for name, shape in held.items() if name not in own or own[name].shape != shape]
    wrong += [name for name in own if name not in held]
    wrong = sorted(name for name in wrong if not is_beside(name))
    if wrong:
        raise ModelError(
            str(where), got=f"{type(source).__name__}, whose weights fit no part: {wrong[0]}",
            need="a model that transformers can build from its config alone",
        )  # fmt: skip
    there.load_state_dict({name: own[name] for name in held if name in own}, strict=False)


def is_beside(name: str) -> bool:
    """Whether a weight of a tower has no part in its hidden states."""
    return bool({"pooler", "head"} & set(name.split(".")[:2]))
