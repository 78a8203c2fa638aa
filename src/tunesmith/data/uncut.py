"""What a row would be without a cutoff, laid beside what is kept of it.

A kept text is no part of the whole one token by token: headers are written anew, and where words
are cut the tokens at the cut change. So the two are compared, in the two steps in which `fit`
leaves something out: turns, then words of a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tunesmith.data.fit import Fitted, Policy
from tunesmith.data.surface import Surface, surfaces
from tunesmith.data.tokenize import Encoder
from tunesmith.errors import TemplateError
from tunesmith.types import Conversation

_NONE = np.zeros(0, bool)


class Token(NamedTuple):
    """One token of a row, learned or not, kept or not."""

    id: int
    text: str
    """All texts joined are the rendered row."""
    control: bool
    """The template wrote it."""
    trained: bool
    """Loss falls on it; of a cut one: would fall."""
    cut: bool = False
    """The cutoff leaves it out."""

    @property
    def kind(self) -> str:
        """`cut`, `trained`, `control` or `context`: the first that holds."""
        if self.cut:
            return "cut"
        return "trained" if self.trained else "control" if self.control else "context"


class Gap(NamedTuple):
    """Where a shorter list of ids lacks something that a longer one has."""

    start: int
    """First id that is missing, in the longer list."""
    end: int
    at: int
    """Where it is missing, in the shorter list."""
    instead: int = 0
    """How many ids of the shorter list stand there in its place."""


class Uncut:
    """Lays rows beside what is kept of them.

    Args:
        encoder: of the run.
        policy: `truncation` of the run.
    """

    def __init__(self, encoder: Encoder, policy: Policy) -> None:
        self.encoder, self.policy = encoder, policy

    def tokens(
        self, conversation: Conversation, trained: np.ndarray, *, cut: bool = False
    ) -> list[Token]:
        """The tokens of a conversation.

        Args:
            conversation: what is encoded.
            trained: whether the token is learned, (L,) bool; empty: none is.
            cut: whether all of it is left out.
        """
        found = surfaces(self.encoder, conversation)
        flags = trained.tolist() or [False] * len(found)
        return [Token(*one, flag, cut) for one, flag in zip(found, flags, strict=True)]

    def beside(self, conversation: Conversation, whole: np.ndarray, fitted: Fitted) -> list[Token]:
        """The tokens that are kept, with those that are cut where they were.

        Args:
            conversation: what the row says.
            whole: trained flags of its tokens before anything is cut, (L,) bool.
            fitted: what `fit` has made of it.
        """
        before = self.tokens(conversation, whole, cut=True)
        if fitted.encoded is None or fitted.conversation is None:
            return before
        kept = self.tokens(fitted.conversation, fitted.encoded.trained)
        if fitted.conversation is conversation:
            return kept
        if not fitted.question_cut:
            dropped = fitted.num_dropped
            return _laid(before, kept, self._turns_gap(conversation, before, kept, dropped))
        least = self._with_turns_of(conversation, fitted.conversation)
        asked = self.tokens(least, _NONE, cut=True) if fitted.num_dropped else before
        words = self._words_gap(asked, kept, least.messages[0].content)
        merged = _laid(asked, kept, words)
        if not fitted.num_dropped:
            return merged
        turns = self._turns_gap(conversation, before, asked, fitted.num_dropped)
        at = turns.at if turns.at < words.end else turns.at + words.instead
        return _laid(before, merged, turns._replace(at=at))

    def _with_turns_of(self, whole: Conversation, kept: Conversation) -> Conversation:
        """The turns that are kept, with all their words."""
        count = len(kept.messages)
        ends = self.policy == "keep_end"
        messages = whole.messages[-count:] if ends else whole.messages[:count]
        return whole._replace(messages=messages)

    def _turns_gap(
        self, conversation: Conversation, before: list[Token], kept: list[Token], num_dropped: int
    ) -> Gap:
        """Where the turns stood that are left out."""
        near = None
        if self.policy == "keep_end":  # it ends where a conversation of these turns alone ends
            dropped = conversation._replace(messages=conversation.messages[:num_dropped])
            try:
                ids = np.array(_ids(surfaces(self.encoder, dropped)))
            except TemplateError:
                ids = np.zeros(0, np.int64)
            near = _common(ids, np.array(_ids(before))) - (len(before) - len(kept))
        return gap(_ids(before), _ids(kept), near)

    def _words_gap(self, longer: list[Token], kept: list[Token], question: str) -> Gap:
        """Where the words of a question stood that are left out."""
        first, end = _words(longer, question)
        near = first if self.policy == "keep_end" else end - (len(longer) - len(kept))
        return gap(_ids(longer), _ids(kept), near)


def gap(longer: Sequence[int], shorter: Sequence[int], near: int | None = None) -> Gap:
    """The one stretch of a list that a shorter one lacks.

    Args:
        longer: ids.
        shorter: ids.
        near: where it is thought to begin; which of equal ids are the missing ones cannot be told
            from the lists (`a b a b` without one `a b`). `None`: as late as it can be.
    """
    one, other = np.asarray(longer), np.asarray(shorter)
    first = _common(one, other)
    last = _common(one[::-1], other[::-1])
    if first + last >= len(other) and len(one) >= len(other):
        start = max(len(other) - last, min(first, first if near is None else near))
        return Gap(start, start + len(one) - len(other), start)
    last = min(last, min(len(one), len(other)) - first)
    return Gap(first, len(one) - last, first, len(other) - last - first)


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Length of the beginning that two lists share."""
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def _laid(longer: list[Token], shorter: list[Token], missing: Gap) -> list[Token]:
    return [
        *shorter[: missing.at],
        *longer[missing.start : missing.end],
        *shorter[missing.at :],
    ]


def _words(found: Sequence[Token], words: str) -> tuple[int, int]:
    """First token and end of a speaker's words."""
    at = 0
    for control, run in groupby(found, lambda token: token.control):
        run = list(run)
        if not control and words.strip() in "".join(token.text for token in run):
            return at, at + len(run)
        at += len(run)
    return 0, len(found)


def _ids(found: Sequence[Token | Surface]) -> list[int]:
    return [token.id for token in found]
