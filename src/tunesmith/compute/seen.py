"""Media tensors in the precision of the model that takes them."""

from __future__ import annotations

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
