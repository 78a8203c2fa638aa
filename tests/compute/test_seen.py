"""Media come to the model in its own precision."""

import torch

from tiny_vlm import tiny_vlm
from tunesmith.compute.seen import suited
from tunesmith.models.load import load_model


def test_numbers_with_a_point_take_the_dtype_of_the_model(tmp_path):
    model = load_model(tiny_vlm(tmp_path), dtype=torch.bfloat16)
    given = {"pixel_values": torch.ones(2), "grid": torch.ones(2, dtype=torch.int64)}
    found = suited(model, given)
    assert found["pixel_values"].dtype == torch.bfloat16
    assert found["grid"].dtype == torch.int64
    with torch.autocast("cpu", torch.bfloat16):
        assert suited(model, given)["pixel_values"].dtype == torch.float32
