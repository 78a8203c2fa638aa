"""An adapter directory opened by peft over its base, or by our own code where peft is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from tunesmith.export import read_transformers
from tunesmith.export.said import Questions, Said
from tunesmith.models import adapter_rows, adapters, files
from tunesmith.models.load import explained, load_model, quiet
from tunesmith.models.vocabulary import grow

_BY_OURSELVES = "the adapter was read back by Tunesmith itself, not by an independent reader: "


def read(directory: Path, questions: Questions) -> Said:
    """What an adapter says over the base that the questions name.

    Raises:
        ModelError: base or adapter cannot be opened.
    """
    base = Path(questions.base)
    words = read_transformers.words(directory, questions)
    why = _not_by_peft(directory, base)
    if why:
        model: Any = load_model(base, dtype=getattr(torch, questions.dtype))
        grow(model, 1 + adapter_rows.last_id(directory))
        adapters.load_adapter(model, directory, trainable=False)
        words = words._replace(notes=(*words.notes, _BY_OURSELVES + why))
    else:
        import peft

        dense = read_transformers.model(base, questions)
        with quiet(), explained(directory, None):
            model = peft.PeftModel.from_pretrained(dense, str(directory)).eval()
        words = words._replace(reader=f"peft {peft.__version__}, {words.reader}")
    return read_transformers.answered(words, model, directory, questions)


def _not_by_peft(directory: Path, base: Path) -> str:
    if importlib.util.find_spec("peft") is None:
        return "peft is not installed here"
    rows = files.read_json(base / "config.json").get("vocab_size", 0)
    if adapter_rows.last_id(directory) >= rows:
        return "it has tokens for which the base has no row before it is enlarged"
    return ""
