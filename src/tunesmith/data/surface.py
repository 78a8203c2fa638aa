"""The text of each token of a conversation, and whether the template or a speaker wrote it.

The texts joined are the rendered conversation, whatever the tokenizer makes of it: of several
tokens that spell one character (bytes of `你`) the first has it, the others have none.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import NamedTuple

from tunesmith.data.frame import AsRead
from tunesmith.data.tokenize import Encoder
from tunesmith.types import Conversation


class Surface(NamedTuple):
    """One token."""

    id: int
    text: str
    control: bool
    """The template wrote it; else it is a speaker's words."""


def surfaces(encoder: Encoder, conversation: Conversation) -> list[Surface]:
    """The tokens of a conversation; their ids are those of `Encoder.encode`.

    Raises:
        TemplateError: the template cannot express it.
    """
    frame, as_read = encoder.read(conversation)
    text, words = as_read.coder.text, set(frame.slots)
    ends = [*accumulate(as_read.lengths)]
    found: list[Surface] = []
    tokens = _tokens(as_read)
    stops = _rising([end for _, _, end in tokens], len(text))
    at = 0
    for (number, start, _), end in zip(tokens, stops, strict=True):
        first = max(start, at) if end > at else max(at - 1, 0)
        control = bisect_right(ends, first) not in words
        piece = text[at:end]
        found.append(Surface(number, encoder.public(piece) if control else piece, control))
        at = end
    return found


def _tokens(as_read: AsRead) -> list[tuple[int, int, int]]:
    """Id, first character and end of each token in the coder's text."""
    coder = as_read.coder
    if not as_read.cuts:
        encoding = coder.encoding()
        pairs = zip(coder.ids(encoding).tolist(), encoding.offsets, strict=True)
        return [(number, start, end) for number, (start, end) in pairs]
    borders = [0, *sorted(as_read.cuts), len(coder.text)]
    pieces = [coder.piece(start, end) for start, end in pairwise(borders)]
    return [
        (number, piece.start + start, piece.start + end)
        for piece in pieces
        for number, (start, end) in zip(piece.ids.tolist(), piece.offsets, strict=True)
    ]


def _rising(stops: list[int], whole: int) -> list[int]:
    """Ends that never go back; the last token takes what no token has."""
    rising = [*accumulate(stops, max)]
    return [*rising[:-1], whole] if rising else []
