"""A conversation's text as it grows: what the template writes is joined until somebody speaks."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.types import Span


class Page:
    """Spans so far, and what stands open after them.

    Attributes:
        out: the spans that are closed.
        answers: where each answer begins and where its turn ends, in characters.
    """

    def __init__(self, prefix: str) -> None:
        self.out: list[Span] = []
        self.answers: list[tuple[int, int]] = []
        self._open = prefix

    @property
    def length(self) -> int:
        """Characters so far."""
        return sum(len(span.text) for span in self.out) + len(self._open)

    def own(self, text: str) -> None:
        """The template's own text."""
        self._open += text

    def say(self, words: str) -> None:
        """A speaker's words, as context."""
        if words:
            self.close()
            self.out.append(Span(words, control=False))

    def turn(self, opened: str, said: Sequence[Span], closed: str) -> None:
        """A turn that is context, with what stands around it."""
        self.own(opened)
        for span in said:
            self.own(span.text) if span.control else self.say(span.text)
        self.own(closed)

    def begin_answer(self) -> None:
        """What stands open is the prompt; even an empty one parts two answers."""
        if self._open or (self.out and self.out[-1].trained):
            self.out.append(Span(self._open))
            self._open = ""

    def learn(self, text: str, trained: bool, *, control: bool = True) -> None:
        """Part of an answer."""
        if text:
            self.out.append(Span(text, trained, control))

    def end_answer(self, start: int, after: str, trained: bool) -> None:
        """An answer of no text is a span too: its prompt ends there, whatever follows."""
        if self.length == start:
            self.out.append(Span("", trained))
        self.own(after)
        self.answers.append((start, self.length))

    def close(self) -> None:
        """End the span that stands open."""
        if self._open:
            self.out.append(Span(self._open))
            self._open = ""
