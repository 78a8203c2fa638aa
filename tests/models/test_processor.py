"""The processor comes from the files beside the weights, or there is one error."""

import pytest

from tiny_model import tiny_model
from tiny_vlm import tiny_vlm
from tunesmith.errors import ModelError
from tunesmith.models.processor import files_of, load


def test_it_is_loaded_and_its_files_are_known(tmp_path):
    directory = tiny_vlm(tmp_path)
    assert type(load(directory)).__name__ == "LlavaProcessor"
    assert files_of(directory) == {
        "processor_config.json": (directory / "processor_config.json").read_bytes()
    }


def test_a_model_without_one_is_refused(tmp_path):
    directory = tiny_model(tmp_path)
    assert files_of(directory) == {}
    with pytest.raises(ModelError, match="the files of its processor"):
        load(directory)


def test_broken_files_are_named(tmp_path):
    directory = tiny_vlm(tmp_path)
    (directory / "processor_config.json").write_text("{")
    with pytest.raises(ModelError, match="its processor"):
        load(directory)
