"""File and overrides to a `Run`: read, laid over each other, validated once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tunesmith.config import yaml
from tunesmith.config.run import Run, fields, flat
from tunesmith.config.validate import Given, validate
from tunesmith.errors import ConfigError

__all__ = ["dump", "flat", "load", "require"]

_OF_A_TEMPLATE = {"roles", "like", "sep_style"}
"""Keys that every template file has one of, and no run file."""
Overrides = Sequence[str] | Mapping[str, Any]


def load(path: Path | str | None, overrides: Overrides = ()) -> Run:
    """Read `path`, lay `overrides` over it in order, validate once.

    Args:
        path: a YAML or JSON file of flat keys; `None`: overrides only.
        overrides: `key=value` texts, the values read as YAML; or a mapping of values that
            are Python objects already.

    Raises:
        ConfigError: the first bad key or value, with the line or override it came from and,
            for an unknown key, the nearest known one; it says how many more there are.
    """
    given = _read(Path(path)) if path is not None else {}
    given |= _overrides(overrides)
    given.pop("$schema", None)
    return validate(given, Path(path) if path is not None else None)


def require(run: Run, *keys: str) -> None:
    """Refuse a run without these keys; each verb names what it needs.

    Raises:
        ConfigError: the first key that is not set, with what it means.
    """
    values, known = flat(run), fields()
    for key in keys:
        if values.get(key) in (None, [], ""):
            meaning = " ".join((known[key][1].description or "").split())
            raise ConfigError(run.where(key), need=f"a value. {meaning}", hint=f"add `{key}: ...`")


def dump(run: Run) -> str:
    """The resolved run as YAML that loads back to an equal run; no secrets."""
    writer, text = YAML(typ="safe", pure=True), StringIO()
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    writer.width = 4096
    writer.dump(flat(run), text)
    return text.getvalue()


def _beside(path: Path) -> list[str]:
    """The run files there may be in the same directory."""
    with suppress(OSError):
        return [name for name in os.listdir(path.parent) if name.endswith((".yaml", ".yml"))]
    return []


def _read(path: Path) -> dict[str, Given]:
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = get_close_matches(path.name, _beside(path), n=1)
        hint = str(path.with_name(near[0])) if near else "tunesmith init writes one"
        raise ConfigError(name, need="a run file; there is no such file", hint=hint) from None
    except IsADirectoryError:
        raise ConfigError(name, got="a directory", need="a run file") from None
    except OSError as error:
        raise ConfigError(name, need=f"a run file that can be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{name}:{line}", got=f"byte 0x{error.object[error.start]:02x}", need="UTF-8 text"
        ) from None
    entries = yaml.read(text, name)
    if entries.keys() & _OF_A_TEMPLATE and "model_name_or_path" not in entries:
        raise ConfigError(
            name, got="a template file", need="a run file, in which this is `template`",
            hint=f"template: {name} in a run file; tunesmith template show {name} shows it",
        )  # fmt: skip
    return {
        key: Given(entry.value, f"{name}:{entry.line}: {key}", entry.written)
        for key, entry in entries.items()
    }


def _overrides(overrides: Overrides) -> dict[str, Given]:
    if isinstance(overrides, Mapping):
        return {k: Given(v, f"argument: {k}") for k, v in overrides.items()}
    given = {}
    for text in overrides:
        _refuse_bytes(text)
        key, equals, value = text.partition("=")
        key = key.strip().removeprefix("--")
        if not equals or not key:
            raise ConfigError("command line", got=text, need="key=value")
        place = f"command line: {key}"
        read, written = yaml.scalar(value, place)
        given[key] = Given(read, place, written)
    return given


def _refuse_bytes(text: str) -> None:
    """An argument that is no UTF-8 reaches Python as lone surrogates, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("command line", got=os.fsencode(text), need="text in UTF-8") from None
