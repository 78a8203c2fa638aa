"""Keys of other tools: what Tunesmith makes of each one that a run file may hold.

`foreign.tsv` has a row for every argument of LLaMA-Factory and of transformers'
`Seq2SeqTrainingArguments`, for what older versions had, and for our own keys:

    works     a key of a run file here
    note      accepted; the text says why there is nothing to set
    refused   not offered; the text says what takes its place
    later     not there yet; the text says what will bring it `|` what to do until then

A row `key=value` speaks of one value of a key that works. Defaults are those of the origin,
as JSON: a key that is null or at its default changes nothing and is only noted.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config.kinds import flag
from tunesmith.config.rule import shown
from tunesmith.config.run import fields, is_secret
from tunesmith.errors import ConfigError


class Row(NamedTuple):
    """What becomes of one key, or of one value of a key."""

    key: str
    origin: str
    default: Any
    outcome: str
    """works, note, refused or later."""
    text: str


@cache
def table() -> dict[str, Row]:
    """Every row by its key, in the order of the file."""
    path = Path(__file__).with_name("foreign.tsv")
    rows = {}
    for line in path.read_text(encoding="utf8").splitlines()[1:]:
        key, origin, default, outcome, text = line.split("\t")
        assert key not in rows, f"foreign.tsv has {key} twice"
        rows[key] = Row(key, origin, json.loads(default), outcome, text)
    return rows


def judge(key: str, value: Any, place: str) -> str:
    """The note on a key that is not ours.

    Raises:
        ConfigError: it is unknown, refused, or not there yet.
    """
    row = table().get(key)
    if row is None:
        near = nearest(key)
        raise ConfigError(
            place,
            need="a key of a run file; this one is unknown",
            hint=near or "tunesmith config reference",
        )
    if _is_idle(value, row.default):
        return f"{place} is at its default and changes nothing"
    if row.outcome == "note":
        return f"{place} has nothing to act on: {row.text}"
    raise _refusal(row, "***" if is_secret(key) else value, place, f"`{key}`")


def judge_value(key: str, value: Any, place: str) -> ConfigError | None:
    """The error for a value of ours that other tools know, if it is one."""
    words = value if isinstance(value, list | tuple) else str(value).split(",")
    for word in words:
        row = table().get(f"{key}={str(word).strip().lower()}")
        if row:
            return _refusal(row, value, place, f"`{key}: {str(word).strip()}`")
    return None


def nearest(key: str) -> str | None:
    """The key of a run file that looks most like this one, if any does."""
    word = key.lower().replace("-", "_")
    found = get_close_matches(word, fields(), n=1, cutoff=0.6)
    return found[0] if found else None


def _refusal(row: Row, value: Any, place: str, what: str) -> ConfigError:
    got, hint = f"{shown(value)}; Tunesmith does not have {what}", row.text
    if row.outcome == "later":
        brings, hint = row.text.split(" | ")
        got = f"{got} yet: {brings}"
    need = "another value" if ": " in what else "a run file without this key"
    return ConfigError(place, got=got, need=need, hint=hint)


def _is_idle(value: Any, default: Any) -> bool:
    """Whether a value says nothing: not set, empty, or what its origin takes anyway."""
    if value is None or (isinstance(value, str | list | dict | tuple) and not value):
        return True
    if isinstance(default, bool):
        return flag(value) is default
    if isinstance(value, bool) or default is None:
        return False
    return value == default
