"""The base model of a tuned one, ready to answer the same questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunesmith.cli import answering
from tunesmith.cli.answering import Found
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.chat import Answers
from tunesmith.infer.hf import Answer, Engine
from tunesmith.infer.sampling import Sampling
from tunesmith.models import adapters
from tunesmith.models.vocabulary import grow
from tunesmith.training.material import fetch
from tunesmith.types import Conversation


class Disabled:
    """The base model below an adapter: the same weights, with the adapter off while it answers.

    Args:
        engine: of the tuned model.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """As `Engine.generate`."""
        with adapters.disabled(self._engine.model):
            return self._engine.generate(conversation, sampling, on_text)


def require_tuned(run: Run, found: Found) -> None:
    """Refuse to compare a model with itself, before anything is loaded.

    Raises:
        ConfigError: nothing has been tuned.
    """
    if not found.adapters and found.served.model == run.model.model_name_or_path:
        raise ConfigError(
            "command line: --compare", got=found.served.note,
            need="a tuned model beside its base: a run that is trained, or adapter_name_or_path",
        )  # fmt: skip


def base_of(run: Run, found: Found, engine: Engine, report: Any) -> tuple[Answers, str]:
    """What answers as the base does, to the ids of the tuned model's prompts; and how, in words.

    One adapter is switched off while the base answers. Where that is not enough (a full tuning,
    modules trained in full, several adapters, of which all but the last are merged) the base is
    loaded beside it.

    Raises:
        ModelError: weights that cannot be used.
    """
    name = run.model.model_name_or_path or ""
    tuned_in_full = not found.adapters
    if len(found.adapters) == 1 and _can_be_off(engine.model):
        return Disabled(engine), f"base: {name}, the same weights with the adapter off"
    place = fetch(run, name, report) if tuned_in_full else found.directory
    model = answering.load(run, found._replace(directory=place), base_only=True)
    if tuned_in_full:  # its prompts may hold tokens that were added in training
        grow(model, found.tokenizer.backend.get_vocab_size(with_added_tokens=True))
    return found.engine(model), f"base: {name}, loaded a second time"


def _can_be_off(model: Any) -> bool:
    try:
        with adapters.disabled(model):
            return True
    except ModelError:  # modules trained in full have no base below them
        return False
