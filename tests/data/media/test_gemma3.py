"""Gemma 3, as stock transformers has it: the tokens of a picture see one another."""

import torch

from like_stock import check


def test_like_stock_and_alone(tmp_path):
    seen = check(tmp_path, "gemma3")
    assert seen.family.alone
    assert seen.family.soft < seen.family.token_ids
    assert torch.is_tensor(seen.model.get_input_embeddings().weight)
