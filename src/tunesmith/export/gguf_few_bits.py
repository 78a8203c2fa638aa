"""A GGUF file in fewer bits, by llama.cpp's own quantiser, an extra."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import ConfigError, ModelError
from tunesmith.export.read_gguf import INSTALL

_Q4_K_M = 15  # of `llama_ftype`


def require() -> None:
    """Refuse to begin without it.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise ConfigError(
            "export_format: gguf-q4_k_m",
            need="llama.cpp's quantiser, which is not installed",
            hint=f"{INSTALL}, or export_format: gguf-q8_0",
        )


@cache
def _silent() -> Any:
    """llama.cpp calls it as long as the process lives, so it is kept as long."""
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)


def quantise(source: Path, target: Path) -> None:
    """Write `target` in q4_k_m; a few tensors stay in more bits, as llama.cpp chooses.

    Raises:
        ModelError: llama.cpp cannot.
    """
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = _Q4_K_M, torch.get_num_threads()
    llama_cpp.llama_log_set(_silent(), None)
    failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    if failed or not target.is_file():
        raise ModelError(
            str(target),
            got=f"llama.cpp's quantiser ended with {failed}",
            need="a file of 4 bits",
            hint="export_format: gguf-q8_0",
        )
