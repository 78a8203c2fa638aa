"""An export is opened by another process, whose errors come back as ours."""

import pytest
import torch

from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.export import reader
from tunesmith.export.said import Questions

ASKED = Questions(["hello there", "<|im_end|>"], [], [[5, 6, 7, 8]], [[5, 6, 7]], new_tokens=3)


@pytest.mark.apart
def test_another_process_says_what_this_one_says(tmp_path):
    base = tiny_model(tmp_path)
    here, there = (
        reader.read("transformers", base, ASKED),
        reader.apart("transformers", base, ASKED),
    )
    assert (here.ids, here.answers, here.texts) == (there.ids, there.answers, there.texts)
    assert all(torch.equal(a, b) for a, b in zip(here.rows, there.rows, strict=True))


@pytest.mark.apart
def test_what_it_cannot_open_is_one_error(tmp_path):
    base = tiny_model(tmp_path)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="llama"):
        reader.apart("transformers", base, ASKED)


def test_a_process_that_dies_is_one_error(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(reader.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match="ended with 1"):
        reader.apart("transformers", tmp_path, ASKED)
