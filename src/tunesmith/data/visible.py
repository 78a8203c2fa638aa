"""Text as a reader should see it: what hides, or moves what stands around it, is spelled out."""

from __future__ import annotations

import re

from tunesmith.data.invisible import places
from tunesmith.errors import printable

_BREAKS = re.compile("[\r\u2028\u2029]")


def hidden(text: str) -> list[int]:
    """Where the characters stand that are spelled: what nobody sees, and odd breaks of lines."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return []
    return sorted({*places(text), *(found.start() for found in _BREAKS.finditer(text))})


def visible(text: str) -> str:
    r"""Text for a terminal: `⟨U+202E⟩` for what is not seen, `\\x1b` for what commands."""
    signs = list(text)
    for at in hidden(text):
        if printable(signs[at]) == signs[at]:
            signs[at] = f"⟨U+{ord(signs[at]):04X}⟩"
    return printable("".join(signs))
