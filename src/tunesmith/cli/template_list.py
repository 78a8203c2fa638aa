"""`tunesmith template list`: every template in one line, as wide as the terminal."""

from __future__ import annotations

import difflib
import json
import textwrap
from typing import Any

from tunesmith.errors import ConfigError

_HEAD = ("template", "tools", "thoughts", "system", "made for")
_LEGEND = (
    "tools: how calls are written; `default` is in words (Action: …), for models without a syntax "
    "of their own",
    "thoughts: it marks what is thought before an answer; system: it brings a system text",
)


def show(wanted: str | None, *, as_json: bool, width: int | None) -> None:
    """Print the templates whose name, or a model of theirs, holds a word; else all.

    Args:
        wanted: the word, in any case; `None`: all templates.
        as_json: one JSON list in place of the table.
        width: columns that lines are cut to; `None`: not at all.

    Raises:
        ConfigError: there is none; the nearest names are given.
    """
    rows = [row for row in _rows() if wanted is None or _holds(row, wanted.lower())]
    if wanted is not None and not rows:
        near = difflib.get_close_matches(wanted, [row["name"] for row in _rows()], 3, cutoff=0.5)
        raise ConfigError(
            f"command line: template list {wanted}", got="no such template",
            need="a part of the name of a template or of a model", hint=" or ".join(near),
        )  # fmt: skip
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD) - 1)]
    for cells in table:
        told = "  ".join(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=False))
        print(_cut(f"{told}  {cells[-1]}", width))
    print()
    print("\n".join(_wrapped(line, width) for line in (*_LEGEND, _next(rows))))


def _rows() -> list[dict[str, Any]]:
    from tunesmith.templates import registry

    rows = []
    for name in registry.names():
        format = registry.format(name)
        rows.append(
            {
                "name": name,
                "models": list(format.models),
                "tools": format.tool_format,
                "thinking": format.thinking is not None,
                "default_system": format.default_system,
            }
        )
    return rows


def _holds(row: dict[str, Any], wanted: str) -> bool:
    return any(wanted in text.lower() for text in (row["name"], *row["models"]))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    thoughts, system = ("yes" if row[key] else "-" for key in ("thinking", "default_system"))
    return (row["name"], row["tools"] or "-", thoughts, system, ", ".join(row["models"]) or "-")


def _next(rows: list[dict[str, Any]]) -> str:
    return f"tunesmith template show {rows[0]['name'] if len(rows) == 1 else 'NAME'} shows one"


def _cut(text: str, width: int | None) -> str:
    text = text.rstrip()
    return text if width is None or len(text) <= width else f"{text[: width - 2]} …"


def _wrapped(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(textwrap.wrap(text, width))
