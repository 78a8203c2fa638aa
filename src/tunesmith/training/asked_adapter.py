"""The adapter that a run asks for, and the one that it goes on with: they must not contradict."""

from __future__ import annotations

from typing import Any

from tunesmith.config.run import Run
from tunesmith.errors import ConfigError
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.models.adapters import falls_on
from tunesmith.training.new_tokens import Words

_OF_AN_ADAPTER = {
    "lora_rank": "rank", "lora_alpha": "alpha", "use_rslora": "rslora", "lora_dropout": "dropout",
    "lora_target": "target", "additional_target": "additional_target", "use_dora": "dora",
    "pissa_init": "is_pissa",
}  # fmt: skip
"""Keys that an adapter which is gone on with has decided, and where its spec holds them."""


def lora_spec(run: Run, words: Words | None = None) -> LoraSpec:
    """The adapter that a run asks for, with the rows of its new tokens."""
    method: Any = run.method
    return LoraSpec(
        rank=method.lora_rank,
        alpha=method.alpha,
        dropout=method.lora_dropout,
        target=method.lora_target,
        rslora=method.use_rslora,
        additional_target=method.additional_target,
        token_ids=words.token_ids if words else (),
        dora=method.use_dora,
        pissa=method.pissa_iter if method.pissa_init else None,
        frozen=method.frozen_parts,
    )


def refuse_other(run: Run, model: Any, there: LoraSpec) -> None:
    """A key that the adapter to go on with contradicts would be ignored without a word.

    Raises:
        ConfigError: the first such key.
    """
    wanted = lora_spec(run)
    for key, field in _OF_AN_ADAPTER.items():
        asked, own = getattr(wanted, field), getattr(there, field)
        if run.asked.get(key) is None or asked == own:
            continue
        if field in ("target", "additional_target"):
            like_asked = there._replace(**{field: asked})
            if falls_on(model, like_asked) == falls_on(model, there):
                continue
        raise ConfigError(
            run.where(key), got=run.asked[key],
            need=f"{own}, as the adapter that is gone on with has",
            hint="create_new_adapter: true merges it and starts a new one",
        )  # fmt: skip
