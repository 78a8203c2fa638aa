"""What the model of a run makes of pictures, videos and sounds, where its rows have any."""

from __future__ import annotations

from pathlib import Path

from tunesmith.config.run import Run
from tunesmith.data import registry
from tunesmith.data.formats.media import columns_of
from tunesmith.data.media.families import family_of
from tunesmith.data.media.family import Family, Limits
from tunesmith.errors import ModelError
from tunesmith.models import load, processor
from tunesmith.models.classes import sees_or_hears
from tunesmith.training import reach
from tunesmith.types import Tokenizer


def family_for(run: Run, directory: Path, tokenizer: Tokenizer) -> Family | None:
    """What the model makes of media; `None`: it takes none, or the rows have none.

    Args:
        run: what was asked.
        directory: of the model.
        tokenizer: the checked tokenizer.

    Raises:
        ConfigError: a package is missing that reads media.
        ModelError: the processor is missing, or speaks of other tokens than the model.
    """
    if not _may_have_media(run):
        return None
    trust = run.model.trust_remote_code
    config = load.read_config(directory, trust_remote_code=trust)
    if not sees_or_hears(config):
        return None
    return seen_by(run, directory, tokenizer)


def seen_by(run: Run, directory: Path, tokenizer: Tokenizer) -> Family:
    """What a model that sees or hears makes of media.

    Raises:
        ConfigError: a package is missing that reads media.
        ModelError: the processor is missing, or speaks of other tokens than the model.
    """
    trust = run.model.trust_remote_code
    config = load.read_config(directory, trust_remote_code=trust)
    if not sees_or_hears(config):
        raise ModelError(
            str(directory), got=f"a model that reads text ({config.model_type})",
            need="a vision-language model, for pictures",
        )  # fmt: skip
    found = processor.load(directory, trust_remote_code=trust)
    limits = Limits(**{key: getattr(run.media, key) for key in Limits._fields})
    return family_of(found, config, tokenizer.backend, limits)


def _may_have_media(run: Run) -> bool:
    """Whether an entry names columns of media, or leaves its layout to be found out."""
    reach.refuse_elsewhere(run)
    for key in ("dataset", "eval_dataset"):
        items = getattr(run.dataset, key)
        for entry in registry.load(run.dataset.dataset_dir, items, run.where(key)):
            if entry.formatting is None or columns_of(entry.columns):
                return True
    return False
