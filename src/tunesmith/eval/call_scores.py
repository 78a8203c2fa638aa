"""How often a model calls the tools that it should call, with the arguments that it should give.

Arguments are compared as JSON values: neither the order of keys nor white space counts, `1` is
`1.0`, and `1` is not `true`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.types import Call


class Called(NamedTuple):
    """The calls of an answer, and those of the answer that was expected."""

    predict: tuple[Call, ...]
    label: tuple[Call, ...]


def same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return one == other


def same_call(one: Call, other: Call) -> bool:
    """Whether two calls have one name and the same arguments."""
    if one.name != other.name:
        return False
    try:
        return same_value(json.loads(one.arguments), json.loads(other.arguments))
    except ValueError:
        return one.arguments == other.arguments


def call_scores(turns: Sequence[Called]) -> dict[str, float]:
    """Percentages over all turns that call tools or should.

    `call_name` and `call` count calls: each expected one may be met once, in any order, by name
    alone or by name and arguments; a call too many counts as one that was missed. `call_turn`
    counts turns in which all calls are the expected ones, in their order.

    Returns:
        Empty where no turn calls a tool or should.
    """
    turns = [turn for turn in turns if turn.predict or turn.label]
    if not turns:
        return {}
    calls = sum(max(len(turn.predict), len(turn.label)) for turn in turns)
    named = sum(_met(turn, lambda a, b: a.name == b.name) for turn in turns)
    whole = sum(_met(turn, same_call) for turn in turns)
    right = sum(
        len(t.predict) == len(t.label) and all(map(same_call, t.predict, t.label)) for t in turns
    )
    return {
        "call_name": round(100 * named / calls, 4),
        "call": round(100 * whole / calls, 4),
        "call_turn": round(100 * right / len(turns), 4),
        "calls": sum(len(turn.label) for turn in turns),
    }


def _met(turn: Called, same: Any) -> int:
    """How many expected calls were made."""
    left, met = list(turn.predict), 0
    for wanted in turn.label:
        place = next((i for i, made in enumerate(left) if same(made, wanted)), None)
        if place is not None:
            del left[place]
            met += 1
    return met
