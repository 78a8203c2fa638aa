"""Where media stand in a conversation: one private character for each, so that no text is counted.

`<image>` and its like are the user's way to say it. They are exchanged for marks before anything is
cut or laid out; a mark is one character, so nothing can cut through it, and it says which medium.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from tunesmith.types import Conversation, Message

_FIRST = 0x100000
MOST = 0xFFFE
"""Media of one conversation: the characters of the last private plane."""
MARK = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + MOST)}]")
_WORDS = re.compile("<(image|video|audio)>")


def mark(number: int) -> str:
    """The character that stands for a medium.

    Args:
        number: of the medium in its conversation, from 0.
    """
    return chr(_FIRST + number)


def number_of(character: str) -> int:
    """Which medium a mark stands for."""
    return ord(character) - _FIRST


def marked(conversation: Conversation) -> Conversation:
    """The conversation with a mark in place of each placeholder.

    Args:
        conversation: has as many media of each kind as placeholders; see `formats.media`.
    """
    if not conversation.media:
        return conversation
    waiting: dict[str, Iterator[int]] = defaultdict(lambda: iter(()))
    for kind in ("image", "video", "audio"):
        waiting[kind] = iter([i for i, one in enumerate(conversation.media) if one.kind == kind])

    def put(text: str) -> str:
        if "<" not in text:
            return text
        return _WORDS.sub(lambda found: _mark_or(next(waiting[found[1]], None), found[0]), text)

    def of(message: Message) -> Message:
        content, thought = put(message.content), put(message.thought)
        return message._replace(
            content=content, thought=thought, results=tuple(map(put, message.results))
        )

    return conversation._replace(messages=tuple(map(of, conversation.messages)))


def _mark_or(number: int | None, word: str) -> str:
    return word if number is None else mark(number)
