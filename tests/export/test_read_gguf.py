"""A GGUF file says what the model says; who opened it is told."""

import sys

import pytest
import torch

from tiny_export import written
from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.export import read_gguf, read_transformers
from tunesmith.export.said import Questions

ASKED = Questions(["hello there", "<|im_end|>"], [], [[5, 6, 7, 8]], [[5, 6]], new_tokens=4)


@pytest.fixture
def _alone(monkeypatch):
    monkeypatch.setattr(read_gguf, "installed", lambda: False)


@pytest.mark.usefixtures("_alone")
def test_read_back_by_ourselves_it_says_so(tmp_path):
    base = tiny_model(tmp_path)
    path = written(base, tmp_path / "m.gguf")
    said, want = read_gguf.read(path, ASKED), read_transformers.read(base, ASKED)
    assert (said.ids, said.answers) == (want.ids, want.answers)
    torch.testing.assert_close(said.rows[0], want.rows[0])
    assert "not by an independent reader" in said.notes[0]
    assert "gguf-quantize" in said.notes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama", "m.gguf"]


@pytest.mark.usefixtures("_alone")
def test_a_file_that_is_cut_off_is_one_error(tmp_path):
    path = written(tiny_model(tmp_path), tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"m\.gguf"):
        read_gguf.read(path, ASKED)


def test_without_llama_cpp_nothing_of_it_is_imported():
    assert read_gguf.installed() or "llama_cpp" not in sys.modules
