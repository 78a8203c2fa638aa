"""Every key of a template file and every shipped template as Markdown, printed from the classes.

`python -m tunesmith.templates.reference --write` prints the page into the source tree; `--check`
fails if it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tunesmith.templates import conversation, registry, tools
from tunesmith.templates.format import (
    Format,
    Later,
    Part,
    Roles,
    Round,
    Special,
    Thinking,
    Token,
    Turn,
)
from tunesmith.templates.keys import takes

_INTRODUCTION = """\
# Template files

<!-- Printed by `python -m tunesmith.templates.reference --write`; do not edit. -->

A template is a YAML document: strings that stand around what is said. Only `name` (in a file of
its own, the name of the file) and `roles` are needed. `like: NAME` takes over another template,
and the document then says only what differs. An unknown key is an error that names the nearest
one. How to write one, step by step: [Add your own model](../add-your-model.md).

`tunesmith template show FILE.yaml` shows what a file makes of a conversation.
"""
_PARTS: dict[str, tuple[type[Part], str]] = {
    "A template": (Format, ""),
    "roles": (Roles, "Who speaks. Only `user` is needed."),
    "A turn": (Turn, ""),
    "thinking": (Thinking, ""),
}
_TEXT = """\
## Text

Where a text is asked for, a string will do, or one of these, or a list of strings and these:
"""
_PIECES = (Special, Token, Round, Later)
_STYLES = {
    "strip": "left out",
    "since_user": "kept since the last question",
    "keep": "kept",
}


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    parts += [_section(title, *told) for title, told in _PARTS.items()]
    parts.append(_TEXT + "\n" + _table(("piece", "is"), map(_piece, _PIECES)))
    parts.append(
        "## Tools\n\n`tool_format` is how a family is told of tools and writes calls, one of "
        f"{', '.join(f'`{name}`' for name in tools.names())}; or null: tools are refused. "
        "`default` tells them in words (`Action: …`), for models without a syntax of their own. "
        "The key `tools` is something else: a turn, what stands around the description.\n"
    )
    parts.append(
        "## Separators, as FastChat and LLaVA write them\n\nA document with `sep_style` has these "
        f"keys and no others: {', '.join(f'`{key}`' for key in conversation.KEYS)}. What they "
        "mean is told in [concepts](../concepts.md#templates).\n"
    )
    formats = [registry.format(name) for name in registry.shipped()]
    parts.append(_thoughts(formats))
    parts.append(_shipped(formats))
    return "\n".join(parts)


def _section(title: str, part: type[Part], more: str) -> str:
    meaning = more or " ".join((part.__doc__ or "").split())
    rows = (
        (f"`{key}`", takes(field.annotation), _default(field.default), field.description or "")
        for key, field in part.model_fields.items()
    )
    return f"## {title}\n\n{meaning}\n\n" + _table(("key", "takes", "default", "meaning"), rows)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, BaseModel):
        given = {key: _plain(told) for key, told in value if key in value.model_fields_set}
        return f"`{_yaml(given)}`" if given else "nothing around it"
    if value in ((), ""):
        return "none"
    return "null" if value is None else f"`{_yaml(value)}`"


def _plain(value: Any) -> Any:
    pieces = [one.model_dump() if isinstance(one, BaseModel) else one for one in value]
    return pieces[0] if len(pieces) == 1 else pieces


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(told)}' for key, told in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _piece(piece: type[Part]) -> tuple[str, str]:
    (key,) = piece.model_fields
    return f"`{{{key}: …}}`", " ".join((piece.__doc__ or "").split())


def _thoughts(formats: Iterable[Format]) -> str:
    rows = (
        (f"`{one.name}`", _code(one.thinking.open), _code(one.thinking.close),
         _STYLES[one.thinking.history])
        for one in formats if one.thinking is not None
    )  # fmt: skip
    return (
        "## Templates that mark thoughts\n\nUnder these, a thought between these marks is told "
        "from the answer; under all others it is text like any other.\n\n"
        + _table(("template", "opens", "closes", "thoughts of earlier answers"), rows)
    )


def _shipped(formats: Sequence[Format]) -> str:
    rows = (
        (f"`{one.name}`", f"`{one.tool_format}`" if one.tool_format else "-",
         "yes" if one.default_system else "-",
         ", ".join(f"`{pattern}`" for pattern in one.models) or "-")
        for one in formats
    )  # fmt: skip
    return f"## All {len(formats)} templates\n\n" + _table(
        ("template", "tools", "brings a system text", "made for"), rows
    )


def _code(text: str) -> str:
    shown = text.replace("\n", "\\n")
    return f"`{shown}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def page(root: Path) -> Path:
    """Where the reference stands in a source tree."""
    return root / "docs" / "reference" / "templates.md"


def main(arguments: Sequence[str]) -> int:
    """`--write` the page, or `--check` that it is fresh."""
    path, text = page(Path(__file__).parents[3]), reference()
    if list(arguments) == ["--write"]:
        path.write_text(text, encoding="utf8")
        return 0
    if path.is_file() and path.read_text(encoding="utf8") == text:
        return 0
    print(f"{path} is stale: python -m tunesmith.templates.reference --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
