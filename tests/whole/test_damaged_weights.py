"""Weights of a base or an adapter that are missing or damaged: one error that names the file."""

import json

import pytest
from safetensors.torch import load_file, save_file

from tiny_run import tiny_run
from tunesmith.cli.main import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose base is stored in two shards, and its result."""
    place = tmp_path_factory.mktemp("trained")
    path = tiny_run(place, max_steps=1)
    model = place / "model"
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    where = {name: shards[i % 2] for i, name in enumerate(sorted(tensors))}
    for shard in shards:
        kept = {name: tensors[name] for name in tensors if where[name] == shard}
        save_file(kept, model / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["train", str(path)]) == 0
    return path


def _missing(raw):
    return None


def _cut(raw):
    return raw[: len(raw) // 2]


def _longer(raw):
    return raw + b"\0"


def _type(raw):
    assert b'"F32"' in raw
    return raw.replace(b'"F32"', b'"G32"', 1)


def _length(raw):
    return bytes([raw[0] ^ 0x10]) + raw[1:]


def _name(raw):
    at = raw.index(b"q_proj")
    return raw[:at] + b"Q" + raw[at + 1 :]


def _zeros(raw):
    return bytes(len(raw))


@pytest.mark.parametrize("damage", [_missing, _cut, _longer, _type, _length, _name, _zeros])
@pytest.mark.parametrize("file", ["model/model-00002-of-00002", "out/adapter_model"])
def test_a_damaged_file_is_one_error_that_names_it(trained, capsys, file, damage):
    path = trained.parent / f"{file}.safetensors"
    raw = path.read_bytes()
    made = damage(raw)
    before = sorted(trained.parent.rglob("*"))
    try:
        path.unlink() if made is None else path.write_bytes(made)
        there = sorted(trained.parent.rglob("*"))
        capsys.readouterr()
        assert main(["export", str(trained)]) == 2
        error = capsys.readouterr().err
        assert path.name in error or (damage is _name and "layers." in error), error
        assert error.count("  got ") == 1
        assert "Traceback" not in error
        assert sorted(trained.parent.rglob("*")) == there, "nothing is written"
    finally:
        path.write_bytes(raw)
    assert sorted(trained.parent.rglob("*")) == before


def test_what_is_whole_is_exported(trained):
    assert main(["export", str(trained)]) == 0
