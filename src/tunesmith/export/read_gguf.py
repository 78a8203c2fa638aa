"""A GGUF file opened by llama.cpp where it is installed, else by our own reader, which says so."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunesmith.errors import ModelError
from tunesmith.export import read_transformers
from tunesmith.export.said import Questions, Said, spoken
from tunesmith.models import gguf

INSTALL = 'pip install "tunesmith[gguf-quantize]"'
_BY_OURSELVES = (
    "llama.cpp is not installed here, so the file was read back by Tunesmith itself, not by an "
    f"independent reader; {INSTALL} brings one"
)
_F32 = 0  # of `ggml_type`
_ENDS = ("eos", "eot", "eom")
_ROOM = 8  # tokens of context beyond what is asked


def installed() -> bool:
    """Whether llama.cpp can be asked."""
    return importlib.util.find_spec("llama_cpp") is not None


def read(path: Path, questions: Questions) -> Said:
    """What a file says.

    Raises:
        ModelError: it cannot be opened.
    """
    return _by_llama_cpp(path, questions) if installed() else _by_ourselves(path, questions)


def _by_ourselves(path: Path, questions: Questions) -> Said:
    with tempfile.TemporaryDirectory(prefix="tunesmith-", dir=path.parent) as place:
        gguf.unpack(path, Path(place))
        said = read_transformers.read(Path(place), questions)
    return said._replace(
        reader=f"Tunesmith's own reader of GGUF, {said.reader}", notes=(_BY_OURSELVES,)
    )


def _by_llama_cpp(path: Path, questions: Questions) -> Said:
    import llama_cpp

    longest = max(
        *(len(row) for row in questions.rows),
        *(len(prompt) + questions.new_tokens for prompt in questions.begun),
    )
    try:
        model = llama_cpp.Llama(
            str(path),
            n_ctx=longest + _ROOM,
            n_batch=longest + _ROOM,
            n_threads=_threads(),
            n_threads_batch=_threads(),
            logits_all=True,
            type_k=_F32,
            type_v=_F32,
            swa_full=True,
            yarn_attn_factor=-1.0,  # what the file says: the binding's defaults would replace it
            yarn_beta_fast=-1.0,
            yarn_beta_slow=-1.0,
            verbose=False,
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise ModelError(
            str(path),
            got=f"llama.cpp does not open it: {error}",
            need="a file that llama.cpp reads",
        ) from None
    answered = [_greedy(model, prompt, questions.new_tokens) for prompt in questions.begun]
    template = model.metadata.get("tokenizer.chat_template")
    said = Said(
        reader=f"llama.cpp (llama-cpp-python {llama_cpp.__version__})",
        ids=[
            model.tokenize(text.encode(), add_bos=special, special=True)
            for text in questions.texts
            for special in (False, True)
        ],
        prompts=_prompts(model, template, questions),
        template=template,
        rows=[_rows(model, row) for row in questions.rows],
        answers=[ids for ids, _ in answered],
        steps=[steps for _, steps in answered],
    )
    ends = [model.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in _ENDS]
    return spoken(
        said,
        {int(end) for end in ends if end is not None},
        lambda ids: model.detokenize(ids, special=False).decode(errors="replace"),
    )


def _threads() -> int:
    """Its threads wait by turning: more of them than cores that are ours take seconds a token."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(torch.get_num_threads(), here or 1))


def _rows(model: Any, row: list[int]) -> torch.Tensor:
    model.reset()
    model.eval(row)
    return torch.from_numpy(np.array(model.scores[: len(row)], dtype=np.float32))


def _greedy(model: Any, prompt: list[int], count: int) -> tuple[list[int], torch.Tensor]:
    model.reset()
    chosen: list[int] = []
    steps: list[np.ndarray] = []
    given = list(prompt)
    for _ in range(count):
        model.eval(given)
        steps.append(np.array(model.scores[model.n_tokens - 1], dtype=np.float32))
        chosen.append(int(steps[-1].argmax()))
        given = chosen[-1:]
    return chosen, torch.from_numpy(np.stack(steps))


def _prompts(model: Any, template: str | None, questions: Questions) -> list[list[int]] | None:
    """By the binding's own rendering of the template in the file."""
    if template is None:
        return None
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    def text_of(token: int) -> str:
        return "" if token < 0 else str(model._model.token_get_text(token))

    made = Jinja2ChatFormatter(
        template, eos_token=text_of(model.token_eos()), bos_token=text_of(model.token_bos())
    )
    return [
        model.tokenize(made(messages=conversation).prompt.encode(), add_bos=False, special=True)
        for conversation in questions.prompts
    ]
