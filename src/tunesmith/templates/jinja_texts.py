"""What a model's own template writes of plain conversations, and what serving shows of it.

A shape of conversation is rendered with marks in place of its words: between them stands the
template's own text. Where thoughts are switched off, some templates end a prompt with an empty
thought that the text of the whole conversation lacks; as served, the answer stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from tunesmith.templates.trace import Trace

Write = Callable[[str | None, Sequence[str], bool, Trace | None], str]
"""The text of system text and turns' words, prompting or not."""


class Shape(NamedTuple):
    """What decides a template's own text, apart from the words."""

    system: bool
    turns: int
    prompting: bool


ASKED = Shape(False, 1, True)


class Texts:
    """What a template writes, each text with its last answer behind the prompt of serving.

    Args:
        write: the template's text.
        silenced: prompts end otherwise because thoughts are switched off.
    """

    def __init__(self, write: Write, *, silenced: bool = False) -> None:
        self._write, self._silenced = write, silenced

    def __call__(
        self, system: str | None, contents: Sequence[str], prompting: bool, trace: Trace | None
    ) -> str:
        """The text of system text and turns' words, prompting or not."""
        text = self._write(system, contents, prompting, trace)
        if prompting or not self._closing:
            return text
        return self.as_served(text, self._write(system, contents[:-1], True, trace))

    def as_served(self, text: str, prompt: str) -> str:
        """A text with its last answer behind the prompt that serving shows for it."""
        if not self._closing or text.startswith(prompt):
            return text
        before = prompt.removesuffix(self._closing)
        return prompt + text.removeprefix(before) if text.startswith(before) else text

    def pieces(self, shape: Shape) -> tuple[str, ...] | None:
        """The template's own text around each text of the shape; `None`: not constant."""
        return _pieces(self, shape)

    @cached_property
    def _closing(self) -> str:
        """What a prompt ends with to switch thoughts off, where a whole text leaves it out."""
        if not self._silenced:
            return ""
        answered = _pieces(self._write, Shape(False, 2, False))
        return beyond(_pieces(self._write, ASKED), answered)


class Given:
    """A conversation's text and those that serving shows on the way to it."""

    def __init__(
        self,
        write: Write,
        shape: Shape,
        words: Sequence[str],
        trace: Trace | None,
    ) -> None:
        self.system = words[0] if shape.system else None
        self.contents = words[shape.system :]
        self._write, self._trace = write, trace
        self._prompting = shape.prompting
        self.text = self._written(shape.turns, shape.prompting)
        asked = range(1, shape.turns + 1, 2)
        self.prompts = [self._written(turns, True) for turns in asked if turns < shape.turns]
        if shape.prompting:
            self.prompts.append(self.text)

    def answered(self, turn: int) -> str:
        """The text that ends with an answer."""
        last = not self._prompting and turn + 1 == len(self.contents)
        return self.text if last else self._written(turn + 1, False)

    def _written(self, turns: int, prompting: bool) -> str:
        return self._write(self.system, self.contents[:turns], prompting, self._trace)


def _pieces(write: Write, shape: Shape) -> tuple[str, ...] | None:
    words = marks(shape)
    return _split(write(*spoken(shape, words), None), words)


def marks(shape: Shape) -> list[str]:
    """Words that no conversation has."""
    return [f"\ue000{i}\ue001" for i in range(shape.turns + shape.system)]


def spoken(shape: Shape, words: list[str]) -> tuple[str | None, list[str], bool]:
    """System text, turns' words, and whether it prompts."""
    return words[0] if shape.system else None, words[shape.system :], shape.prompting


def beyond(asked: tuple[str, ...] | None, answered: tuple[str, ...] | None) -> str:
    """What follows a question in its prompt beyond what does in a text that goes on."""
    if asked is None or answered is None or not asked[1].startswith(answered[1]):
        return ""
    return asked[1].removeprefix(answered[1])


def _split(text: str, marks: list[str]) -> tuple[str, ...] | None:
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        pieces.append(before)
    if any(mark in text or any(mark in piece for piece in pieces) for mark in marks):
        return None
    return (*pieces, text)
