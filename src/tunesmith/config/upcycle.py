"""A mixture of experts out of a dense model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt
from pydantic import BeforeValidator

from tunesmith.config.kinds import Natural, Says, Section, Whole

WORDS = ("all", "even", "odd", "first_half", "second_half")
_RULE = f"one of {', '.join(WORDS)}, or numbers of layers from 0"


def _layers(value: Any) -> Any:
    """`0,2,4` on a command line is a list."""
    if value in WORDS:
        return value
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list | tuple) else [parts]
    numbers = [int(p) if isinstance(p, str) and p.strip().isdecimal() else p for p in parts]
    if not numbers or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(_RULE)
    return tuple(numbers)


class Upcycle(Section):
    """What `tunesmith upcycle` makes of the dense model of `model_name_or_path`."""

    num_experts: Annotated[Whole, Ge(2), Le(1024)] = 4
    """Experts of a layer, copies of its feed-forward network at first."""
    num_experts_per_tok: Annotated[Whole, Ge(2), Le(1024)] = 2
    """How many of them a token goes through. With one alone its router would learn nothing."""
    moe_layers: Annotated[
        Literal["all", "even", "odd", "first_half", "second_half"]
        | Annotated[Natural, Lt(100_000)]
        | tuple[Annotated[Natural, Lt(100_000)], ...],
        BeforeValidator(_layers),
        Says(_RULE),
    ] = "all"
    """Layers that get experts: `all`, `even` (0, 2, 4 ...), `odd`, `first_half`, `second_half`, or
    their numbers from 0."""
