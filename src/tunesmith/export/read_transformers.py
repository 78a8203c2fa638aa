"""A model directory opened as everybody does: by stock transformers, with nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import ModelError
from tunesmith.export.said import Questions, Said, of_model, spoken
from tunesmith.export.sights import Glance
from tunesmith.models import files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.classes import auto_class
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
    from transformers import AutoConfig

    trust = questions.trust_remote_code
    with quiet(), explained(directory, None):
        config = AutoConfig.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=trust
        )
        made = auto_class(config).from_pretrained(
            str(directory),
            dtype=getattr(torch, questions.dtype),
            local_files_only=True,
            trust_remote_code=trust,
        )
    return made.to(questions.device).eval()


def answered(said: Said, model: Any, directory: Path, questions: Questions) -> Said:
    """The words with what the model computes."""
    said = of_model(said, model, questions)
    made = _tokenizer(directory)
    named = files.read_json_if_there(directory / "generation_config.json").get("eos_token_id")
    ends = {made.eos_token_id, *(named if isinstance(named, list) else [named])}
    said = spoken(said, ends, lambda ids: str(made.decode(ids, skip_special_tokens=True)))
    return _looked(said, model, directory, questions) if questions.sights else said


def _looked(said: Said, model: Any, directory: Path, questions: Questions) -> Said:
    """The same with its answers about pictures: by processor and `generate`, as users call them."""
    from transformers import AutoProcessor, GenerationConfig

    tokenizer = _tokenizer(directory)
    with quiet():
        processor = AutoProcessor.from_pretrained(
            str(directory),
            local_files_only=True,
            trust_remote_code=questions.trust_remote_code,
        )
    if said.notes:  # AutoTokenizer reads other ids here, which is told
        processor.tokenizer = tokenizer
    model.generation_config = GenerationConfig()  # answers go on past any end
    seen = []
    for sight in questions.sights:
        text = tokenizer.apply_chat_template(
            sight.said(), tokenize=False, add_generation_prompt=True
        )
        made = processor(
            text=[text], images=sight.opened(), add_special_tokens=False, return_tensors="pt",
            **sight.options,
        ).to(model.device)  # fmt: skip
        with quiet(), torch.inference_mode():
            out = model.generate(
                **made, max_new_tokens=questions.new_tokens, do_sample=False,
                return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        length = made["input_ids"].shape[1]
        steps = torch.stack(out.logits)[:, 0].float().cpu()
        ids, answer = made["input_ids"][0].tolist(), out.sequences[0, length:].tolist()
        seen.append(Glance(ids, answer, steps))
    return said.looked(seen)


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
