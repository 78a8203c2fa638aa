"""Rows of a run as one page that needs nothing else: no server, no network, no other file.

Text of the user's never meets the parser of a browser as markup: it stands in a block of JSON in
which no sign of HTML is left, and the page's script puts it into text nodes. Only that script
may run; its hash stands in the page's policy.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.invisible import CHARACTERS, JOINERS, visible
from tunesmith.data.show import Showing, Shown
from tunesmith.data.uncut import Token

_UNSAFE = re.compile("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff]")
_MARK = '<meta name="generator" content="tunesmith data show">'


def page(found: Showing, facts: Mapping[str, str]) -> str:
    """The page.

    Args:
        found: the rows.
        facts: of the run, `run` among them; they stand above the rows.
    """
    script, style = _part("page.js"), _part("page.css")
    data = {
        "rows": [_row(row) for row in found.rows],
        "invisible": CHARACTERS,
        "joiners": JOINERS,
    }
    said = (f"<dt>{_escaped(key)}</dt><dd>{_escaped(value)}</dd>" for key, value in facts.items())
    told = [*found.chosen, *found.notes]
    values = {
        "title": _escaped(f"{facts['run']}: rows as they are learned"),
        "facts": "".join(f"<div>{fact}</div>" for fact in said),
        "notes": "".join(f"<li>{_escaped(line)}</li>" for line in told),
        "notes_title": "Which rows these are" + (", and notes on them" if found.notes else ""),
        "notes_open": " open" if len(told) == 1 else "",
        "script": script,
        "style": style,
        "script_hash": _hash(script),
        "style_hash": _hash(style),
        "data": _json(data),
    }
    return re.sub(r"\{(\w+)\}", lambda name: values[name[1]], _part("page.html"))


def is_ours(path: Path) -> bool:
    """Whether a file is a page that was written here."""
    try:
        with path.open(encoding="utf8") as file:
            return _MARK in file.read(4096)
    except (OSError, UnicodeDecodeError):
        return False


def _row(row: Shown) -> dict[str, Any]:
    skip = row.skip.as_dict() if row.skip else None
    return {
        "file": row.origin.file,
        "line": row.origin.line,
        "row": row.origin.row,
        "dataset": row.origin.dataset,
        "held_out": row.held_out,
        "skip": skip,
        "raw": row.raw,
        "texts": [
            {
                "tokens": [token.text for token in text.tokens],
                "ids": [token.id for token in text.tokens],
                "classes": "".join(map(_letter, text.tokens)),
                "notes": text.notes,
            }
            for text in row.texts
        ],
    }


def _letter(token: Token) -> str:
    """c, x, t: control, context, trained; s: trained, of the template; large: cut."""
    letter = ("ts" if token.trained else "xc")[token.control]
    return letter.upper() if token.cut else letter


def _json(value: object) -> str:
    """JSON that no parser of HTML reads anything in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
