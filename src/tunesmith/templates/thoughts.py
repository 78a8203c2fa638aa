"""Thoughts inside answers: which are there, which a history keeps, what stands for none.

Serving shows a model its earlier answers as the template's history says, usually without
their thoughts. Which answers of a conversation read in the whole text as they did when they
were given is decided here; the others are learned from a text of their own (`apart.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.templates.format import Thinking
from tunesmith.types import Message

_FINAL = "<|channel|>final<|message|>"
USUAL = ("<think>\n", "\n</think>\n\n")
_MARKS = (
    USUAL,
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant" + _FINAL),
)
"""Marks that a template is looked through for."""


def marks_in(source: str) -> tuple[str, str] | None:
    """What opens and closes a thought in a template's source; `None`: it knows none."""
    return next((pair for pair in _MARKS if pair[1].strip() in source), None)


def lead_in(marks: tuple[str, str]) -> str:
    """What such a template puts before the words of an answer that is not thought about."""
    return _FINAL if marks[1].endswith(_FINAL) else ""


class Form(NamedTuple):
    """How an answer's words stand in the text."""

    words: str
    none: str = ""
    """What stands before them because nothing was thought."""
    lead: str = ""
    """What stands before them because the answer is an earlier one without its thought."""
    stop: str = ""
    """What ends an earlier answer in place of the turn's own end; empty: that does."""


def has_thought(words: str, marks: Thinking) -> bool:
    """Whether either mark stands in an answer, whatever white space surrounds it."""
    return marks.open.strip() in words or marks.close.strip() in words


def without_thought(words: str, marks: Thinking) -> str:
    """An answer without its thought; as it is where it has no whole one."""
    start = words.find(marks.open.strip())
    end = words.rfind(marks.close.strip())
    if start < 0 or end < start:
        return words
    rest = words[end + len(marks.close.strip()) :].lstrip("\n")
    return words[:start].rstrip("\n") + rest


def leads(marks: Thinking | None, lead: str) -> tuple[str, ...]:
    """What a template may put before an answer's words where nothing was thought, longest first.

    Args:
        marks: how it marks thoughts.
        lead: of any answer.
    """
    found = {lead}
    if marks is not None:
        found |= {marks.none + lead, marks.none, marks.earlier.lead + lead, marks.earlier.lead}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def unled(words: str, marks: Thinking | None, lead: str) -> str:
    """An answer without what the template put before its words."""
    return words.removeprefix(next(filter(words.startswith, leads(marks, lead)), ""))


def after_thought(words: str, marks: Thinking) -> str:
    """What an answer says behind its thought."""
    return words.split(marks.close.strip())[-1].lstrip("\n")


def parted(words: str, marks: Thinking) -> list[tuple[str, bool]]:
    """An answer in pieces, and whether each is a mark: of a whole thought that begins it."""
    opened, closed = marks.open.strip(), marks.close.strip()
    if not words.startswith(opened) or closed not in words.removeprefix(opened):
        return [(words, False)]
    thought, _, rest = words.removeprefix(opened).partition(closed)
    return [(opened, True), (thought, False), (closed, True), (rest, False)]


def as_given(words: str, marks: Thinking | None, *, enable_thinking: bool | None) -> Form:
    """The answer as the model gives it: the last one of what serving asked for."""
    if marks is None:
        return Form(words)
    if enable_thinking is False:
        words = without_thought(words, marks)
    return Form(words, "" if has_thought(words, marks) else marks.none)


def unsilenced(words: str, marks: Thinking | None, *, enable_thinking: bool | None) -> bool:
    """Whether an answer is given as if thinking had been asked for, though it has not been.

    It holds a thought (or half a mark, which cannot be taken out), so its prompt lacks the words
    that keep a model from thinking: that of serving with `enable_thinking: true`.
    """
    if marks is None or not marks.none or enable_thinking is True:
        return False
    return not as_given(words, marks, enable_thinking=enable_thinking).none


class History:
    """Earlier answers of a conversation as later prompts show them.

    Args:
        messages: the conversation.
        marks: how the template marks thoughts.
        enable_thinking: false takes thoughts out everywhere.
        preserve: keep every thought, whatever the template says.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        marks: Thinking,
        *,
        enable_thinking: bool | None,
        preserve: bool,
    ) -> None:
        self.messages, self.marks, self.enable_thinking = messages, marks, enable_thinking
        self.policy = "keep" if preserve else marks.history

    def form(self, number: int, last: int) -> Form:
        """The answer `number` in a text that ends with the message `last`."""
        words = self.messages[number].content
        if number == last:
            return as_given(words, self.marks, enable_thinking=self.enable_thinking)
        asked = max((i for i in range(last + 1) if self.messages[i].role == "user"), default=-1)
        kept = self.policy == "keep" or (self.policy == "since_user" and number > asked)
        if not kept or self.enable_thinking is False:
            words = without_thought(words, self.marks)
        lead = "" if has_thought(words, self.marks) else self.marks.earlier.lead
        return Form(words, lead=lead, stop=self.marks.earlier.stop)

    def reads_as_given(self, number: int, last: int) -> bool:
        """Whether the text up to the end of an answer is the one that it was given in."""
        answers = range(number % 2, number + 1, 2)
        return all(self.form(i, number) == self.form(i, last) for i in answers)
