"""Media tensors as a model takes them: in its precision, and through its tower."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def suited(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors where the model is; numbers with a point in its dtype.

    Under autocast they stay as they are: there the layers decide.
    """
    device = model.device
    dtype = None if torch.is_autocast_enabled(device.type) else model.dtype
    return {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in inputs.items()
    }


def weightless(tensor: Tensor) -> Tensor:
    """Numbers with a point without memory: what decides sizes and places stays."""
    return tensor.to("meta") if tensor.is_floating_point() else tensor


def through(model: Any, inputs: Mapping[str, Tensor], *, kind: str = "image") -> Any:
    """What the model itself makes of media, by their tower and projector.

    Args:
        model: with its tower watched.
        inputs: what it takes of them beside ids.
        kind: of the media.
    """
    call = getattr(model.base_model, f"get_{kind}_features")
    taken = inspect.signature(call).parameters
    inputs = inputs if model.device.type == "meta" else suited(model, inputs)
    return call(**{name: tensor for name, tensor in inputs.items() if name in taken})
