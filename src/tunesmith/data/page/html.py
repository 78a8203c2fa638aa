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

from tunesmith.data.show import Showing, Shown, Text
from tunesmith.data.uncut import Token
from tunesmith.data.visible import hidden, visible

_UNSAFE = re.compile("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff]")
_MARK = '<meta name="generator" content="tunesmith data show">'


def page(found: Showing, title: str, facts: Mapping[str, str]) -> str:
    """The page.

    Args:
        found: the rows.
        title: what the page is called.
        facts: of the run; they stand above the rows.
    """
    script, style = _part("page.js"), _part("page.css")
    data = {"rows": [_row(row) for row in found.rows]}
    said = (f"<dt>{_escaped(key)}</dt><dd>{_escaped(value)}</dd>" for key, value in facts.items())
    values = {
        "title": _escaped(title),
        "facts": "".join(f"<div>{fact}</div>" for fact in said),
        "chosen": "".join(f"<p>{_escaped(line)}</p>" for line in found.chosen),
        "notes": "".join(f"<li>{_escaped(line)}</li>" for line in found.notes),
        "num_notes": "1 note" if len(found.notes) == 1 else f"{len(found.notes)} notes",
        "no_notes": "" if found.notes else " hidden",
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
    if skip:
        skip = {key: visible(str(value)) for key, value in skip.items() if value is not None}
    return {
        "file": visible(row.origin.file),
        "line": row.origin.line,
        "row": row.origin.row,
        "dataset": visible(row.origin.dataset),
        "held_out": row.held_out,
        "skip": skip,
        "raw": visible(row.raw),
        "texts": [_text(text) for text in row.texts],
    }


def _text(text: Text) -> dict[str, Any]:
    whole = "".join(token.text for token in text.tokens)
    return {
        "tokens": [token.text for token in text.tokens],
        "ids": [token.id for token in text.tokens],
        "classes": "".join(map(_letter, text.tokens)),
        "hidden": [len(whole[:at].encode("utf-16-le")) // 2 for at in hidden(whole)],
        "notes": text.notes,
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
