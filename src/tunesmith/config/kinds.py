"""The kinds of value that a key can hold: what is accepted at the door, and the rule in words.

Every kind is strict (text is not a number, a number is no flag) with the few
leniences that users' files need, each named in its reader below.
"""

from __future__ import annotations

import json
import math
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types as bounds
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

ENTRY_SOURCES = (  # in the order in which they win
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
    "file_name",
)
"""Keys of a data set's entry that say where its rows are."""
ENTRY_KEYS = (
    *ENTRY_SOURCES, "formatting", "ranking", "subset", "split", "folder", "num_samples",
    "columns", "tags", "fill",
)  # fmt: skip
"""All keys of a data set's entry, in `dataset_info.json` and in a run file."""
_SUCH_AS = "such as 0.7, 0.3"
_TRUE, _FALSE = {"yes", "on", "true"}, {"no", "off", "false"}


class Section(BaseModel):
    """Part of a run: immutable, no unknown keys, the docstring of a field is its help text."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        arbitrary_types_allowed=False,
    )


class Says(NamedTuple):
    """The rule of a kind in words, for errors, `explain` and the reference page."""

    text: str


def flag(value: object) -> object:
    """YAML 1.1's words for true and false, which older run files use, are understood."""
    word = value.lower() if isinstance(value, str) else None
    return True if word in _TRUE else False if word in _FALSE else value


def _whole(value: object) -> object:
    """`1e5` is a float in YAML; as a whole number it is 100000."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _limit(value: object) -> object:
    """The field's `-1` means that there is no limit."""
    return None if value == -1 and not isinstance(value, bool) else _whole(value)


def _names(value: object) -> object:
    """`a, b` and `[a, b]` are the same two names."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    names = tuple(os.fspath(p) if isinstance(p, Path) else p for p in parts)
    names = tuple(n.strip() if isinstance(n, str) else n for n in names)
    for name in names:
        _refuse_nul(name)
    if any(n == "" for n in names):
        raise ValueError("an empty name stands between the commas; leave it out")
    return names


def _datasets(value: object) -> object:
    """Names as everywhere; a mapping alone or in the list is an entry that stands here."""
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list | tuple):
        return _names(value)
    for key in (key for item in value if isinstance(item, dict) for key in item):
        if key not in ENTRY_KEYS:
            near = get_close_matches(str(key), ENTRY_KEYS, n=1)
            raise ValueError(near[0] if near else f"the keys of an entry: {', '.join(ENTRY_KEYS)}")
    named = _names([item for item in value if not isinstance(item, dict)])
    assert isinstance(named, tuple), "a list of names becomes a tuple"
    names = iter(named)
    return tuple(item if isinstance(item, dict) else next(names) for item in value)


def _weights(value: object) -> object:
    """`0.7, 0.3` and `[0.7, 0.3]` are the same two numbers."""
    parts = value.split(",") if isinstance(value, str) else value
    numbers = [_weight(part) for part in (parts if isinstance(parts, list | tuple) else [parts])]
    if numbers and not 0 < sum(numbers) < math.inf:
        raise ValueError(_SUCH_AS)
    return tuple(numbers)


def _weight(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not (math.isfinite(number) and number >= 0):
        raise ValueError(_SUCH_AS)
    return number


def _targets(value: object) -> object:
    names = _names(value)
    return "all" if names == ("all",) else names


def _no_mixed_all(value: object) -> object:
    if isinstance(value, tuple) and "all" in value:
        raise ValueError("`all` stands alone")
    return value


def _text(value: object) -> object:
    """From Python, a path may be given as one."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    _refuse_nul(value)
    return value


def _refuse_nul(value: object) -> None:
    """The system cannot name a file so, and says it late and badly."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("take out the character NUL (\\0)")


def _folder(value: object) -> object:
    """A path as written; `~` is the home directory."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("an empty path names nothing")
        _refuse_nul(value)
        value = Path(value)
    return value.expanduser() if isinstance(value, Path) else value


def _resume(value: object) -> object:
    """`true` is what happens anyway: go on from the newest checkpoint."""
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        value = value.lower() in _TRUE
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("a number of steps is not a path: name the checkpoint's directory")
    if value is True:
        return None
    return value if value is False or value is None else _folder(value)


def _interval(value: object) -> object:
    """`eval_strategy: false` is how YAML 1.1 tools print `no`."""
    return "no" if value is False else value


def _table(value: object) -> object:
    """A mapping, or one written as JSON text (HF accepts both)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _cadence(value: float) -> float:
    if value >= 1 and not float(value).is_integer():
        raise ValueError("a number of steps is whole; below 1 it is a share of all steps")
    return int(value) if value >= 1 else value


def _share(value: float) -> float:
    if value == 1.0 and isinstance(value, float):
        raise ValueError("write 1 for one row, or a share below 1")
    if value > 1 and not float(value).is_integer():
        raise ValueError("a number of rows is whole; a share is below 1")
    return int(value) if value >= 1 else float(value)


Flag = Annotated[bool, BeforeValidator(flag), Says("true or false")]
Whole = Annotated[int, BeforeValidator(_whole), Says("a whole number")]
Count = Annotated[Whole, bounds.Ge(1)]
Natural = Annotated[Whole, bounds.Ge(0)]
Number = Annotated[float, Field(allow_inf_nan=False), Says("a number")]
Positive = Annotated[Number, bounds.Gt(0)]
Text = Annotated[str, BeforeValidator(_text), Field(min_length=1), Says("text")]
Secret = Annotated[SecretStr, Says("text")]
Folder = Annotated[
    Path,
    BeforeValidator(_folder),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "minLength": 1}),
    Says("a path"),
]
_NAMES_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema(_NAMES_SCHEMA),
    Says("names, as a YAML list or separated by commas"),
]
_ENTRY_SCHEMA = {
    "type": "object",
    "properties": {key: {} for key in ENTRY_KEYS},
    "additionalProperties": False,
}
Datasets = Annotated[
    tuple[str | dict[str, Any], ...],
    BeforeValidator(_datasets),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                _ENTRY_SCHEMA,
                {"type": "array", "items": {"anyOf": [{"type": "string"}, _ENTRY_SCHEMA]}},
            ]
        }
    ),
    Says("names, paths or entries, as a YAML list; names and paths also separated by commas"),
]
Weights = Annotated[
    tuple[float, ...],
    BeforeValidator(_weights),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number"]},
                {"type": "array", "items": {"type": "number", "minimum": 0}},
            ]
        }
    ),
    Says("shares of at least 0, one of them above 0, as a YAML list or separated by commas"),
]
Targets = Annotated[
    Literal["all"] | tuple[str, ...],
    BeforeValidator(_no_mixed_all),
    BeforeValidator(_targets),
    WithJsonSchema(_NAMES_SCHEMA),
    Says("`all`, or names as a YAML list or separated by commas"),
]
Steps = Annotated[
    int | float,
    bounds.Gt(0),
    Field(allow_inf_nan=False),
    AfterValidator(_cadence),
    Says("a whole number of steps, or a share of all steps below 1"),
]
Share = Annotated[
    int | float,
    bounds.Ge(0),
    Field(allow_inf_nan=False),
    AfterValidator(_share),
    Says("a share below 1, or a whole number of rows"),
]
Warmup = Annotated[
    int | float,
    bounds.Ge(0),
    Field(allow_inf_nan=False),
    AfterValidator(_cadence),
    Says("a whole number of steps, or a share of all steps below 1"),
]
Limit = Annotated[
    Annotated[int, bounds.Ge(1)] | None,
    BeforeValidator(_limit),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": -1}]}),
    Says("a whole number of at least 1, or -1 for no limit"),
]
Interval = Annotated[
    Literal["no", "steps", "epoch"],
    BeforeValidator(_interval),
    WithJsonSchema({"enum": ["no", "steps", "epoch", False]}),
]
Resume = Annotated[
    Literal[False] | Path | None,
    BeforeValidator(_resume),
    PlainSerializer(lambda value: value if value in (None, False) else str(value)),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1}]}),
    Says("the path of a checkpoint, or false to start over"),
]
Table = Annotated[dict[str, Any], BeforeValidator(_table), Says("a mapping")]
