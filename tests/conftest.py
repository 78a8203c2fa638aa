"""What every test shares: one thread, no hub, a cache of its own."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"  # the bars of libraries that build tiny models

import pytest


def pytest_configure():
    """A shell's background jobs begin with these ignored; so would every process of the tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    cache = os.environ.get("TUNESMITH_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    monkeypatch.setenv("TUNESMITH_CACHE", cache)
    for name in ("USE_MODELSCOPE_HUB", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _exports_opened_here(request, monkeypatch):
    """Exports are opened in this process, by the code of the other one, where no test says so."""
    if {"export", "cli", "training", "whole", "test_quickstart.py"}.isdisjoint(request.path.parts):
        return
    if "apart" not in request.keywords:
        from tunesmith.export import reader

        monkeypatch.setattr(reader, "apart", reader.read)
