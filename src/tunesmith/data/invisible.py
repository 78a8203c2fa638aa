"""Characters that a reader does not see, or that move what stands around them: spelled out."""

from __future__ import annotations

import re

from tunesmith.errors import printable

CHARACTERS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""As the inside of a character class. Order of writing (UAX 9), zero width, fillers, tags."""
JOINERS = "\u200c\u200d"
"""Of these, what belongs between letters of some scripts and between emoji."""

_INVISIBLE = re.compile(f"[{CHARACTERS}]")
_JOINING = re.compile(f"(?<=[^\x00-\x7f])[{JOINERS}](?=[^\x00-\x7f])")


def visible(text: str) -> str:
    """Text in which nothing hides: `⟨U+202E⟩` for what is not seen, `\\x1b` for what commands."""
    joins = {found.start() for found in _JOINING.finditer(text)}
    shown = _INVISIBLE.sub(
        lambda found: found[0] if found.start() in joins else f"⟨U+{ord(found[0]):04X}⟩", text
    )
    return printable(shown)
