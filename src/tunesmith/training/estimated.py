"""A plan from a sample of the rows: which of its figures are scaled, and how it says so."""

from __future__ import annotations

from typing import Any

from tunesmith.data.sampled import Sampled

MARK = "~"
"""Before every figure that is scaled."""
_ALWAYS = (
    "tokens_per_epoch", "trained_tokens_per_epoch", "computed_tokens_per_epoch", "longest",
    "recompute", "micro_batch_tokens", "memory_needed", "memory_components", "seconds", "forecast",
)  # fmt: skip
_NUMBERS = ("train_examples", "eval_examples")
_STEPS = ("steps_per_epoch", "steps", "warmup_steps")
_EPOCHS = ("steps_per_epoch", "epochs")


def of_plan(
    sampled: Sampled | None, *, packed: bool, max_steps: int | None
) -> dict[str, Any] | None:
    """What the plan says of its estimates, for JSON; `None`: it has none.

    Args:
        sampled: what was made of the rows.
        packed: whether packs or buckets are the unit of a step: how many there are is scaled.
        max_steps: of the run.
    """
    if sampled is None:
        return None
    scaled = [*_ALWAYS, *(() if sampled.one_each else _NUMBERS), *(("packs",) if packed else ())]
    if packed or not sampled.one_each:
        scaled += _STEPS if max_steps is None else _EPOCHS
    return {
        "rows_in_sample": sampled.rows,
        "rows": sampled.of,
        "rows_counted_by": sampled.counted,
        "seed": sampled.seed,
        "tokens_within": sampled.tokens_within,
        "scaled": scaled,
    }


def line(estimate: dict[str, Any]) -> str:
    """The row of the plan that tells what it was made from."""
    within = 100 * estimate["tokens_within"]
    return (
        f"from a sample of {estimate['rows_in_sample']:,} of {estimate['rows']:,} rows (seed "
        f"{estimate['seed']}, counted by {estimate['rows_counted_by']}); figures with {MARK} are "
        f"scaled, tokens within {within:.1f} % (95 % sure); --exact prepares all rows"
    )


def notes(sampled: Sampled | None, *, longest: int, cutoff_len: int) -> list[str]:
    """What a sample cannot know."""
    if sampled is None:
        return []
    found = ["rows outside the sample were not looked at; tunesmith data check reads them all"]
    if longest < cutoff_len:
        found.append(
            f"a row outside the sample may be longer than {longest:,} tokens, up to cutoff_len "
            f"{cutoff_len:,}, and need more memory"
        )
    return found


def told(lines: tuple[str, ...], sampled: Sampled | None) -> tuple[str, ...]:
    """Lines of the row ledger; those of a sample say so."""
    return lines if sampled is None else ("of the sample:", *lines)
