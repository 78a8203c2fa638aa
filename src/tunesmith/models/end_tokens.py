"""Which tokens end an answer, by the files beside a model."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from tunesmith.models import files

_FILES = ("generation_config.json", "config.json")


def end_tokens(directory: Path, backend: tokenizers.Tokenizer) -> tuple[list[str], str]:
    """Tokens that end an answer, in their order, and the file that says so."""
    for name in _FILES:
        ids = files.read_json_if_there(directory / name).get("eos_token_id")
        if ids is not None:
            ids = ids if isinstance(ids, list) else [ids]
            tokens = [backend.id_to_token(i) for i in ids if isinstance(i, int) and i >= 0]
            found = [token for token in tokens if token is not None]  # padded rows have none
            return _of_model(found, directory, backend), name
    return [], _FILES[0]


def _of_model(ends: list[str], directory: Path, backend: tokenizers.Tokenizer) -> list[str]:
    """Without ordinary text that ends the turns of the template of a run.

    That template says so itself where the result answers; a later run may have another one, as
    LLaVA's second stage has after a first whose turns are lines.
    """
    if not (directory / "run.yaml").is_file():
        return ends
    control = {token.content for token in backend.get_added_tokens_decoder().values()}
    return [token for token in ends if token in control] or ends
