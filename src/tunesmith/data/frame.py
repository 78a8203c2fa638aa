"""What rendered conversations of one shape share: the template's own text around the words.

Most rows of a dataset have one of a few shapes. What follows from the template's text alone
(which control tokens to expect, where the answers lie between them) is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import tokenizers

from tunesmith.data.codec import Codec, Coder
from tunesmith.types import Span


class AsRead(NamedTuple):
    """How a text came to its ids."""

    coder: Coder
    lengths: list[int]
    """Of each span in the coder's text."""
    cuts: set[int]
    """Where that was cut."""


class Anchor(NamedTuple):
    """A place in the ids that is known from the control tokens around it."""

    control: int
    """Which of the text's control tokens."""
    tail: bytes
    """The ids between it and the place, as int32."""
    length: int
    """Their number; -1: the place is before the control token."""

    def place(self, ids: np.ndarray, controls: np.ndarray) -> int | None:
        """The place in a text's ids; `None` if other ids stand before it.

        Args:
            ids: (L,) int32.
            controls: where the control tokens stand, (C,) int.
        """
        first = int(controls[self.control]) + 1
        place = first + self.length
        return place if self.length <= 0 or ids[first:place].tobytes() == self.tail else None


class Marked(NamedTuple):
    """A place in the ids behind text of the template that holds no control token.

    Tokens that spell a text stand where the text does, so where the words of a row hold it
    nowhere, each such sequence of ids stands where the template wrote it.
    """

    text: str
    """What ends there; no two of it can overlap."""
    ids: bytes
    """Tokens that spell it and perhaps more before it, as int32."""
    which: int
    """Of the times that the template writes it, from 0."""
    times: int
    """How often the template writes it."""

    def place(self, text: str, ids: bytes) -> int | None:
        """The place in a text's ids; `None` if it cannot be told from them.

        Args:
            text: the whole text.
            ids: its ids, as int32.
        """
        if text.count(self.text) != self.times:
            return None
        found = _all_in(ids, self.ids)
        return found[self.which] if len(found) == self.times else None


class Frame:
    """Spans of a conversation but for its words.

    Args:
        spans: of any conversation of the shape.
        codec: reads the template's text.

    Attributes:
        trained: for each span whether it is learned.
        answers: first span and end of each run of learned spans.
        slots: the spans that hold words.
        control: bytes of the control ids that the template writes, in order.
        own_tokens: for each answer, how many tokens of thoughts and tool calls are the template's.
        all_own_tokens: how many of the whole text are.
        tails: for each answer, ids that the text before it ends with; see `Codec.tail`.
        anchors: start and end of each answer; `None` where only offsets can ever tell.
    """

    def __init__(self, spans: Sequence[Span], codec: Codec) -> None:
        self._spans = tuple(spans)
        self.trained = [span.trained for span in spans]
        self.slots = [number for number, span in enumerate(spans) if not span.control]
        self.answers = _answers(self.trained)
        written = [codec.known(span.text)[1] if span.control else _NONE for span in spans]
        self.control = np.concatenate([_NONE, *written]).tobytes()
        self.own_tokens = [
            sum(codec.own_tokens(codec.known(s.text)[0]) for s in spans[first:end] if s.control)
            for first, end in self.answers
        ]
        self.all_own_tokens = sum(
            codec.own_tokens(codec.known(s.text)[0]) for s in spans if s.control
        )
        before = [spans[first - 1] if first else None for first, _ in self.answers]
        self.tails = [codec.tail(s.text) if s and s.control else _NONE for s in before]
        self.anchors = self._anchors(codec, written) if codec.spells else None

    def texts(self, words: Sequence[str]) -> list[str]:
        """The text of each span.

        Args:
            words: of the spans that hold words, in order.
        """
        texts = [span.text for span in self._spans]
        for number, said in zip(self.slots, words, strict=True):
            texts[number] = said
        return texts

    def spans(self, texts: Sequence[str]) -> list[Span]:
        """The spans with these texts."""
        return [s._replace(text=text) for s, text in zip(self._spans, texts, strict=True)]

    def places(
        self, text: str, ids: np.ndarray, controls: np.ndarray
    ) -> list[tuple[int, int]] | None:
        """First token and end of each answer; `None` where only offsets can tell.

        Args:
            text: of the whole conversation.
            ids: of the text, (L,) int32.
            controls: where the control tokens stand, (C,) int.
        """
        if self.anchors is None or ids[controls].tobytes() != self.control:
            return None
        out = []
        for start, end in self.anchors:
            if isinstance(start, Anchor):
                first = start.place(ids, controls)
            else:
                first = start.place(text, ids.tobytes())
            last = end.place(ids, controls)
            if first is None or last is None:
                return None
            out.append((first, last))
        return out

    def _anchors(
        self, codec: Codec, written: list[np.ndarray]
    ) -> list[tuple[Anchor | Marked, Anchor]] | None:
        counts = [0, *np.cumsum([len(ids) for ids in written]).tolist()]
        out: list[tuple[Anchor | Marked, Anchor]] = []
        for first, last in self.answers:
            start = self._after(first, counts, codec, whole=False) or self._behind(first, codec)
            end = self._end(last, counts, codec)
            if start is None or end is None:
                return None
            out.append((start, end))
        return out

    def _behind(self, at: int, codec: Codec) -> Marked | None:
        """The place before a span, told from the template's text that ends there."""
        if at == 0 or not self._spans[at - 1].control:
            return None
        texts, ids = codec.endings(self._spans[at - 1].text)
        text = next((text for text in texts if not _overlaps_itself(text)), None)
        if text is None:
            return None
        times = [span.text.count(text) if span.control else 0 for span in self._spans]
        return Marked(text, ids.tobytes(), sum(times[:at]) - 1, sum(times))

    def _end(self, end: int, counts: list[int], codec: Codec) -> Anchor | None:
        """The end of an answer: behind a control token, or before one."""
        known = self._after(end, counts, codec, whole=True)
        if known is not None or end == len(self._spans):
            return known
        following = self._spans[end]
        ids, control = codec.known(following.text)
        begins = following.control and len(control) and ids[0] == control[0]
        return Anchor(counts[end], b"", -1) if begins else None

    def _after(self, at: int, counts: list[int], codec: Codec, *, whole: bool) -> Anchor | None:
        """The place before a span, told from the template's text that ends there.

        Args:
            at: number of the span.
            counts: control ids before each span.
            codec: reads the template's text.
            whole: only where the text ends with a control token.
        """
        if at == 0 or not self._spans[at - 1].control:
            return None
        ids, control = codec.known(self._spans[at - 1].text)
        if not len(control):
            return None
        tail = ids[int(np.flatnonzero(ids == control[-1])[-1]) + 1 :]
        if whole and len(tail):
            return None
        return Anchor(counts[at] - 1, tail.tobytes(), len(tail))


_NONE = np.zeros(0, np.int32)


def _overlaps_itself(text: str) -> bool:
    return any(text.endswith(text[:size]) for size in range(1, len(text)))


def _all_in(ids: bytes, part: bytes) -> list[int]:
    """Where sequences of ids end that are the part; both as int32."""
    out = []
    at = ids.find(part)
    while at >= 0:
        if at % 4 == 0:
            out.append((at + len(part)) // 4)
        at = ids.find(part, at + 1)
    return out


def _answers(trained: Sequence[bool]) -> list[tuple[int, int]]:
    """First span and end of each run of learned spans."""
    out: list[tuple[int, int]] = []
    first = None
    for number, learned in enumerate(trained):
        if learned and first is None:
            first = number
        elif not learned and first is not None:
            out.append((first, number))
            first = None
    if first is not None:
        out.append((first, len(trained)))
    return out


def borders_of(answers: list[tuple[int, int]], lengths: list[int]) -> list[tuple[int, int]]:
    """First character and end of each answer."""
    starts = [0, *accumulate(lengths)]
    return [(starts[first], starts[end]) for first, end in answers]


def place_of(encoding: tokenizers.Encoding, position: int, total: int) -> int | None:
    """The first token at or after a character; `None` if one lies across."""
    for character in range(position, total):
        token = encoding.char_to_token(character)
        if token is None:
            continue  # a character that the normalizer has dropped
        span = encoding.token_to_chars(token)
        return token if span is not None and span[0] >= position else None
    return len(encoding)
