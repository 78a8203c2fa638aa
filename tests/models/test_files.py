"""A model directory is what it claims to be, or one error says what it is instead."""

import itertools
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from tunesmith.errors import ModelError
from tunesmith.models import files

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}, path)
    return path


def test_the_header_tells_types_shapes_and_bytes(weights):
    header = files.read_header(weights)
    assert header == {"a": ("F32", (3, 4), 48), "b": ("BF16", (5,), 10)}


@pytest.mark.parametrize("keep", [0, 4, 9, 60, -1])
def test_a_file_that_was_cut_off_is_named(weights, keep):
    raw = weights.read_bytes()
    weights.write_bytes(raw[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        files.weight_files(weights.parent)


def test_whatever_bit_of_a_header_is_flipped_the_library_never_has_to_say_so(weights):
    raw = weights.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    refused = 0
    for at, bit in itertools.product(range(8 + length), range(8)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << bit
        weights.write_bytes(flipped)
        try:
            header = files.read_header(weights)
        except ModelError as error:
            named = str(weights) in error.where
            refused += named
            if named:
                continue
            raise
        read = load_file(weights)  # a name or a type of the same size may be another one
        assert {name: tuple(t.shape) for name, t in read.items()} == {
            name: info.shape for name, info in header.items()
        }
    assert refused > 0.8 * 8 * (8 + length)


def test_a_file_with_bytes_behind_its_end_is_refused(weights):
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(ModelError, match="bytes by its own header"):
        files.weight_files(weights.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_git_lfs_pointer_is_called_one(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ModelError, match="git-lfs pointer") as caught:
        (files.weight_files if name.startswith("model") else _read_config)(tmp_path)
    assert "git lfs pull" in caught.value.hint


def _read_config(directory):
    return files.read_json(directory / "config.json")


def _index(directory, **weight_map):
    (directory / files.INDEX).write_text(json.dumps({"weight_map": weight_map}), encoding="utf8")


def test_an_index_leads_to_its_shards(weights):
    weights.rename(weights.parent / "model-1.safetensors")
    _index(weights.parent, a="model-1.safetensors", b="model-1.safetensors")
    assert [p.name for p in files.weight_files(weights.parent)] == ["model-1.safetensors"]


def test_a_missing_shard_is_named(weights):
    weights.rename(weights.parent / "model-1.safetensors")
    _index(weights.parent, a="model-1.safetensors", b="model-2.safetensors")
    with pytest.raises(ModelError, match=r"1 of 2 shards; missing model-2\.safetensors"):
        files.weight_files(weights.parent)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/../../x", "..\\x"])
def test_an_index_that_leads_out_of_the_directory_is_refused(tmp_path, name):
    _index(tmp_path, a=name)
    with pytest.raises(ModelError, match="inside the model directory"):
        files.weight_files(tmp_path)


def test_pickled_weights_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(ModelError, match="pickled weights only") as caught:
        files.weight_files(tmp_path)
    assert "safetensors" in caught.value.hint


def test_a_gguf_in_the_directory_is_pointed_at(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError) as caught:
        files.weight_files(tmp_path)
    assert str(tmp_path / "m.gguf") in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "\xff", "[" * 100_000])
def test_json_that_is_none_or_no_object_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ModelError, match=r"config\.json"):
        files.read_json(tmp_path / "config.json")


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    for read in (files.read_json, files.read_text, files.read_header, files.refuse_pointer):
        with pytest.raises(ModelError, match="no plain file"):
            read(path)
    path.unlink()
    path.mkdir()
    for read in (files.read_json, files.read_text, files.read_header, files.refuse_pointer):
        with pytest.raises(ModelError, match="a directory"):
            read(path)
