"""Token ids to text while they arrive: never half a character, never a piece of a stop word."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import tokenizers

_BROKEN = "\ufffd"  # what a decoder gives for bytes that are not a character (yet)


class Piece(NamedTuple):
    """What one more token adds."""

    text: str
    """Safe to show now; may be empty."""
    stopped: bool
    """A stop word is complete; nothing may follow."""


def left_out(backend: tokenizers.Tokenizer, marks: Iterable[str]) -> frozenset[int] | None:
    """Special tokens that are no part of an answer's text: those that stand in none of its marks.

    Args:
        backend: makes text of ids.
        marks: what a template writes into answers, around thoughts and calls.

    Returns:
        Their ids; `None`: every special token, the marks hold none.
    """
    written = "\n".join(marks)
    added = backend.get_added_tokens_decoder().items()
    special = {number: token.content for number, token in added if token.special}
    others = frozenset(number for number, text in special.items() if text not in written)
    return others if len(others) < len(special) else None


class TextStream:
    """Turns ids into pieces of text; the pieces joined are the decoded answer.

    A token may end inside a UTF-8 character, and decoders treat the first token
    differently (a leading space). So each piece is the difference between two decodings
    that both start some tokens back, and is held back while it ends in a broken
    character or in the beginning of a stop word.

    Args:
        backend: makes text of ids.
        stop_words: end the answer, and are no part of it.
        skipped: special tokens that are no part of the text; `None`: all. See `left_out`.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        stop_words: Sequence[str] = (),
        *,
        skipped: Collection[int] | None = None,
    ) -> None:
        self._backend, self._skipped = backend, skipped
        self._stop_words = tuple(word for word in stop_words if word)
        self._ids: list[int] = []
        self._start = 0  # decoding starts here
        self._done = 0  # ids up to here are in the text
        self._held = ""
        self.text = ""
        """Everything given out so far."""

    def push(self, token_id: int) -> Piece:
        """Add one token.

        Returns:
            The text that can be shown now, and whether a stop word has ended the answer
            (the stop word itself is never given out).
        """
        self._ids.append(token_id)
        before = self._decode(self._ids[self._start : self._done])
        now = self._decode(self._ids[self._start :])
        if now.endswith(_BROKEN) or len(now) <= len(before):
            return Piece("", False)
        self._start, self._done = self._done, len(self._ids)
        return self._give(now[len(before) :])

    def finish(self) -> Piece:
        """Give out what was held back: the answer has ended."""
        before = self._decode(self._ids[self._start : self._done])
        rest = self._decode(self._ids[self._start :])[len(before) :]
        self._start = self._done = len(self._ids)
        piece = self._give(rest)
        if piece.stopped:
            return piece
        text, self._held = piece.text + self._held, ""
        self.text += text[len(piece.text) :]
        return Piece(text, False)

    def _give(self, new: str) -> Piece:
        pending = self._held + new
        found = [at for word in self._stop_words if (at := pending.find(word)) >= 0]
        if found:
            pending, self._held = pending[: min(found)], ""
            self.text += pending
            return Piece(pending, True)
        keep = max((_overlap(pending, word) for word in self._stop_words), default=0)
        cut = len(pending) - keep
        shown, self._held = pending[:cut], pending[cut:]
        self.text += shown
        return Piece(shown, False)

    def _decode(self, ids: list[int]) -> str:
        if self._skipped is None:
            return self._backend.decode(ids, skip_special_tokens=True)
        said = [token_id for token_id in ids if token_id not in self._skipped]
        return self._backend.decode(said, skip_special_tokens=False)


def _overlap(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a beginning of `word`."""
    for size in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:size]):
            return size
    return 0
