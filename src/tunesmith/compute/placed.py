"""A batch where the model is."""

from __future__ import annotations

import torch
from torch import Tensor

from tunesmith.types import Batch


def placed(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; a GPU fetches it by itself, from memory that stays in place."""
    if device.type == "cpu":
        return batch

    def moved(tensor: Tensor) -> Tensor:
        held = tensor.pin_memory() if device.type == "cuda" and tensor.numel() else tensor
        return held.to(device, non_blocking=True)

    seen = batch.seen
    if seen is not None:
        positions = None if seen.positions is None else moved(seen.positions)
        inputs = {name: moved(tensor) for name, tensor in seen.inputs.items()}
        made = None if seen.made is None else {k: moved(v) for k, v in seen.made.items()}
        seen = seen._replace(inputs=inputs, positions=positions, made=made)
    return batch._replace(
        ids_T=moved(batch.ids_T),
        positions_T=moved(batch.positions_T),
        predict_P=moved(batch.predict_P),
        labels_P=moved(batch.labels_P),
        seen=seen,
    )
