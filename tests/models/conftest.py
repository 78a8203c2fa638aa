"""A hub on loopback for the tests of this room."""

import pytest

from fake_hub import as_hub
from tiny_model import tiny_model
from tunesmith.models import transfer


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """The files of a tiny model, with some that nobody should ask for."""
    directory = tiny_model(tmp_path_factory.mktemp("served"), template="{{ messages }}")
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    return files | {
        "pytorch_model.bin": b"PK",
        "modeling_own.py": b"raise SystemExit",
        "README.md": b"# model",
        "onnx/model.safetensors": b"x",
        "original/config.json": b"{}",
    }


@pytest.fixture
def hub(model_files, monkeypatch, tmp_path):
    """The fake hub as both hubs of the environment; nothing waits between tries."""
    monkeypatch.setattr(transfer, "_CHUNK_BYTES", 1 << 14)
    with as_hub(monkeypatch, {"own/model": dict(model_files)}, tmp_path) as served:
        yield served
