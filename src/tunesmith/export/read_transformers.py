"""A model directory opened as everybody does: by stock transformers, with nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import ModelError
from tunesmith.export.said import Questions, Said, of_model, spoken
from tunesmith.models import files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import explained, quiet


def read(directory: Path, questions: Questions) -> Said:
    """What a directory says.

    Raises:
        ModelError: it cannot be opened.
    """
    said = words(directory, questions)
    return answered(said, model(directory, questions), directory, questions)


def words(directory: Path, questions: Questions) -> Said:
    """What its tokenizer says, before any weight is read."""
    import transformers

    made = _tokenizer(directory)
    return Said(
        reader=f"transformers {transformers.__version__}",
        ids=[
            list(made(text, add_special_tokens=special, verbose=False)["input_ids"])
            for text in questions.texts
            for special in (False, True)
        ],
        prompts=[
            list(
                made.apply_chat_template(
                    conversation, add_generation_prompt=True, return_dict=True
                )["input_ids"]
            )
            for conversation in questions.prompts
        ]
        if made.chat_template
        else None,
        template=made.chat_template,
        notes=_stock_notes(directory),
    )


def model(directory: Path, questions: Questions) -> Any:
    """Its model, ready to be asked."""
    from transformers import AutoModelForCausalLM

    with quiet(), explained(directory, None):
        made = AutoModelForCausalLM.from_pretrained(
            str(directory),
            dtype=getattr(torch, questions.dtype),
            local_files_only=True,
            trust_remote_code=questions.trust_remote_code,
        )
    return made.to(questions.device).eval()


def answered(said: Said, model: Any, directory: Path, questions: Questions) -> Said:
    """The words with what the model computes."""
    said = of_model(said, model, questions)
    made = _tokenizer(directory)
    named = files.read_json_if_there(directory / "generation_config.json").get("eos_token_id")
    ends = {made.eos_token_id, *(named if isinstance(named, list) else [named])}
    return spoken(said, ends, lambda ids: str(made.decode(ids, skip_special_tokens=True)))


def _tokenizer(directory: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)


def _stock_notes(directory: Path) -> tuple[str, ...]:
    """Where AutoTokenizer, with the config beside it, reads other ids: the right loader."""
    try:
        differences = tokenizers.check_stock(directory)
    except ModelError as error:
        return (f"AutoTokenizer cannot open it ({error.got}); use {tokenizers.RIGHT_LOADER}",)
    if not differences:
        return ()
    name = differences[0].loader
    return (f"AutoTokenizer takes {name} for it and gets other ids; use {tokenizers.RIGHT_LOADER}",)
