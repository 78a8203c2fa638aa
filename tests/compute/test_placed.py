"""A batch is moved whole, media included."""

import torch

from tunesmith.compute.placed import placed
from tunesmith.types import Batch, Seen


def test_everything_is_moved():
    ids = torch.arange(3)
    seen = Seen({"pixel_values": torch.ones(1, 2)}, positions=torch.zeros(3, 3))
    batch = Batch(ids, ids, (0, 3), ids[:1], ids[1:2], seen=seen)
    assert placed(batch, torch.device("cpu")) is batch
    there = placed(batch, torch.device("meta"))
    tensors = [there.ids_T, there.positions_T, there.predict_P, there.labels_P]
    tensors += [there.seen.positions, there.seen.inputs["pixel_values"]]
    assert all(tensor.is_meta for tensor in tensors)
    assert there.offsets == batch.offsets
