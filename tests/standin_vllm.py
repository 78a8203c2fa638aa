"""Puts a stand-in in the place of vLLM: a package of its name that speaks the same contract."""

import os
from pathlib import Path

HOME = Path(__file__).parent / "standin"
OPTIONS = {
    "served-model-name": "tunesmith-base", "dtype": "float32", "max-model-len": 512,
    "gpu-memory-utilization": 0.7, "generation-config": "vllm", "max-logprobs": 20,
    "structured-outputs-config": '{"backend": "guidance"}',
}  # fmt: skip


def standing_in(monkeypatch, **environment: str) -> None:
    """From now on `vllm` is the stand-in, here and in processes that are started."""
    source = str(Path(__file__).parent.parent / "src")
    paths = [source, str(HOME), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(HOME))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
