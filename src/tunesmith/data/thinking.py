"""Thoughts in the answers of a run's rows: put into the template's marks, and counted.

In rows a thought stands between `<think>` and `</think>` before the answer, or in the marks of
the template. What a template then makes of it is in `templates/thoughts.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tunesmith.data.examples import Said
from tunesmith.data.ledger import counted
from tunesmith.templates import ANSWERING, Renderer, Template
from tunesmith.templates.format import Thinking
from tunesmith.types import Conversation, Origin

OPEN, CLOSE = "<think>", "</think>"


class Thoughts:
    """Puts the thoughts of rows into the template's marks, and counts what is odd about them.

    Args:
        renderer: the template.
    """

    def __init__(self, renderer: Renderer) -> None:
        template = renderer if isinstance(renderer, Template) else None
        self.name = renderer.name
        self.marks = template.format.thinking if template else None
        self.left_out = renderer.left_out
        self.foreign = _foreign(self.marks)
        self.translated = _Rows()
        self.silenced, self.elsewhere, self.halves = _Rows(), _Rows(), _Rows()

    def in_marks(self, said: Iterable[Said]) -> Iterator[Said]:
        """The rows, their thoughts in the template's marks."""
        for one in said:
            marked = one
            if self.marks is not None and self.foreign:
                marked = one._replace(conversation=in_marks(one.conversation, self.marks))
                self.translated.count(one, marked.conversation is not one.conversation)
            self._count(marked)
            yield marked

    def notes(self) -> Iterator[str]:
        """For the plan."""
        if self.translated.number and self.marks is not None:
            shown = f"{self.marks.open.strip()} and {self.marks.close.strip()}"
            yield (
                f"{counted(self.translated.number)} with thoughts between {OPEN} and {CLOSE}: they "
                f"are learned between {shown}, as template {self.name} marks them"
            )
        if self.silenced.number:
            rows = counted(self.silenced.number)
            yield f"thinking is off: the thoughts of {rows} are left out and not learned"
        if self.elsewhere.number:
            yield (
                f"{counted(self.elsewhere.number)} with {OPEN} and {CLOSE} inside an answer, where "
                f"template {self.name} marks no thought (first: {self.elsewhere.first}): they are "
                "learned as words"
            )
        if self.halves.number:
            yield (
                f"{counted(self.halves.number)} with half a thought, its begin or its end alone "
                f"(first: {self.halves.first}): it is learned as it stands"
            )

    def _count(self, one: Said) -> None:
        words = [m.content for m in one.conversation.messages if m.role in ANSWERING]
        pairs = [(OPEN, CLOSE)]
        if self.marks is not None:
            pairs.append((self.marks.open.strip(), self.marks.close.strip()))
        self.halves.count(one, any(_half(text, *pair) for text in words for pair in pairs))
        self.elsewhere.count(one, self.foreign and any(_whole(t, *pairs[0]) for t in words))
        if self.left_out is not None:
            out = self.left_out.open.strip(), self.left_out.close.strip()
            self.silenced.count(one, any(_whole(text, *out) for text in words))


def translated(conversation: Conversation, renderer: Renderer) -> Conversation:
    """The conversation as a run learns it: thoughts in the template's own marks."""
    marks = renderer.format.thinking if isinstance(renderer, Template) else None
    return in_marks(conversation, marks) if marks and _foreign(marks) else conversation


def _foreign(marks: Thinking | None) -> bool:
    """Whether a template marks thoughts otherwise than rows do."""
    return marks is not None and marks.open.strip() != OPEN


class _Rows:
    """How many rows, and where the first of them is."""

    def __init__(self) -> None:
        self.number = 0
        self.first: Origin | None = None

    def count(self, one: Said, counts: bool) -> None:
        if counts:
            self.number += 1
            self.first = self.first or one.origin


def in_marks(conversation: Conversation, marks: Thinking) -> Conversation:
    """The conversation with each thought that begins an answer in these marks.

    The same object where there is none.
    """
    messages = tuple(
        message._replace(content=_in_marks(message.content, marks))
        if message.role in ANSWERING
        else message
        for message in conversation.messages
    )
    same = messages == conversation.messages
    return conversation if same else conversation._replace(messages=messages)


def _in_marks(words: str, marks: Thinking) -> str:
    opened, begun, rest = words.partition(OPEN)
    thought, ended, answer = rest.partition(CLOSE)
    if opened.strip() or not (begun and ended):
        return words
    return marks.open + thought.strip("\n") + marks.close + answer.lstrip("\n")


def _whole(words: str, opened: str, closed: str) -> bool:
    return closed in words.partition(opened)[2]


def _half(words: str, opened: str, closed: str) -> bool:
    return (opened in words or closed in words) and not _whole(words, opened, closed)
