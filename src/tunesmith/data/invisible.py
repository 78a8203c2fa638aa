"""Characters in the words of rows that nobody sees and that the model learns all the same.

Spaces without width, joiners, marks of direction, byte order marks inside a text, soft hyphens,
control characters, tags, fillers, stray variation selectors. Where writing needs one of them it
is none of these: joiners in emoji and between letters of scripts that join, marks of direction
in text from right to left, tags in flags, spaces without width where words have no others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tunesmith.data.ledger import Finding, Ledger, counted
from tunesmith.types import Conversation

if TYPE_CHECKING:  # the verbs ask for `places` alone, before anything heavy is there
    from tunesmith.data.examples import Said

KIND = "invisible"
_SHOWN = 4  # kinds of character in the note
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SELECTOR = re.compile(f"[{_SELECTORS}]")
_FILLERS = "\u115f\u1160\u3164\uffa0"
_SUSPECT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls but tab, newline and carriage return
    "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    f"\U000e0000-\U000e007f{_FILLERS}{_SELECTORS}]"
)
_JOINER, _NON_JOINER, _NO_WIDTH = "\u200d", "\u200c", "\u200b"
_DIRECTED = re.compile("[\u200e\u200f\u061c\u202a-\u202c\u2066-\u2069\u034f]")
"""Marks of direction, and the joiner of graphemes that Hebrew needs; overrides are never needed."""
_FROM_THE_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff]")
_JOINING = re.compile(  # from Hebrew over the scripts of India and Southeast Asia to Mongolian
    "[\u0590-\u0dff\u0f00-\u109f\u1700-\u18af\u1900-\u1cff\ua800-\ua8ff\ua930-\ua9ff\uaa00-\uaaff"
    "\uabc0-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f]"
)
_WITHOUT_SPACES = re.compile(  # Thai, Lao, Tibetan, Burmese, Khmer, Tai, Javanese, Balinese …
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf]"
)
_PICTURE = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_BEHIND_A_PICTURE = re.compile("[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]*$")
_BLACK_FLAG = "\U0001f3f4"
_FLAG = re.compile(f"{_BLACK_FLAG}[\U000e0020-\U000e007e]{{1,16}}\U000e007f")
_HANGUL = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")


def invisible(text: str) -> Iterator[str]:
    """The characters of a text that nobody sees and that nothing around them needs, in order."""
    for at in places(text):
        yield text[at]


def places(text: str) -> Iterator[int]:
    """Where those characters stand, ascending."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return
    flags = _FLAG.finditer(text) if _BLACK_FLAG in text else ()
    flagged = {at for flag in flags for at in range(*flag.span())}
    from_the_right = None
    for found in _SUSPECT.finditer(text):
        at = found.start()
        if _DIRECTED.match(found[0]):
            if from_the_right is None:
                from_the_right = bool(_FROM_THE_RIGHT.search(text))
            needed = from_the_right
        else:
            needed = at in flagged or _needed(text, at)
        if not needed:
            yield at


def name(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`."""
    usual = {"\ufeff": "byte order mark", "\0": "NUL"}
    said = usual.get(character) or unicodedata.name(character, "control character").lower()
    return f"U+{ord(character):04X} {said}"


class Invisible:
    """Counts rows of a run that hold such characters.

    Args:
        ledger: of the run.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.kinds: dict[str, Finding] = {}

    def counting(self, said: Iterable[Said]) -> Iterator[Said]:
        """The same rows."""
        for one in said:
            found = {sign for text in _texts(one.conversation) for sign in invisible(text)}
            if found:
                self.ledger.find(KIND, one.origin)
                for sign in sorted(found):
                    kind = self.kinds.setdefault(sign, Finding())
                    kind.count += 1
                    kind.first = kind.first or [str(one.origin)]
            yield one

    def notes(self) -> Iterator[str]:
        """For the plan."""
        if not self.kinds:
            return
        kinds = sorted(self.kinds.items(), key=lambda item: (-item[1].count, item[0]))
        shown = [
            f"{name(sign)} in {kind.count:,} (first: {kind.first[0]})"
            for sign, kind in kinds[:_SHOWN]
        ]
        more = [f"and {len(kinds) - _SHOWN} more kinds"] if len(kinds) > _SHOWN else []
        rows = counted(self.ledger.findings[KIND].count)
        yield f"{rows} with characters that nobody sees: {', '.join(shown + more)}"


def _needed(text: str, at: int) -> bool:
    """Whether the letters beside a character need it."""
    sign = text[at]
    before, after = text[max(at - 8, 0) : at], text[at + 1 : at + 2]
    around = before[-1:] + after
    if sign in (_JOINER, _NON_JOINER):
        picture = _BEHIND_A_PICTURE.sub("", before)[-1:]
        emoji = sign == _JOINER and _PICTURE.match(picture) and _PICTURE.match(after)
        return bool(emoji or _JOINING.search(around))
    if sign == _NO_WIDTH:
        return bool(_WITHOUT_SPACES.search(around))
    if _SELECTOR.match(sign):  # one changes what stands before it; several hide text
        return bool(before.strip()) and not _SELECTOR.match(before[-1])
    if sign in "\u115f\u1160":
        return bool(_HANGUL.search(around))
    return sign == "\u180e" and bool(_JOINING.search(around))


def _texts(conversation: Conversation) -> Iterator[str]:
    if conversation.system:
        yield conversation.system
    for message in conversation.messages:
        yield message.content
        if message.thought:
            yield message.thought
        yield from message.results
