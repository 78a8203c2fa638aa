"""Conversations laid out without Jinja, where one before them has shown how.

The search for spans is run once with watched words. What it asked of them makes a path
through a tree of questions; at its end stand the spans, in pieces. A later conversation that
gives the same answers gets the same pieces with its own words. Each path is confirmed by the
conversation that opened it, and what cannot be followed is laid out by Jinja, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from tunesmith.errors import TemplateError
from tunesmith.templates.budget import STEPS, TEXT_CHARACTERS
from tunesmith.templates.jinja_spans import Found, Laid, laid
from tunesmith.templates.jinja_texts import Shape
from tunesmith.templates.trace import Opaque, Pieces, Step, Trace, joined, pieces_of
from tunesmith.templates.watched import words as watched_words
from tunesmith.types import Span

MOST_SHAPES = 256
MOST_PATHS = 64
"""Of one shape."""
MOST_CHARACTERS = 1 << 26
"""Of all paths together, about."""
_STEP_CHARACTERS = 200

Find = Callable[[Shape, Sequence[str], Trace | None], Found]


class _Path(NamedTuple):
    """What a conversation comes to, apart from its words."""

    spans: tuple[Span, ...]
    answers: tuple[int | None, ...]
    words: tuple[tuple[int, int | None, Pieces], ...]
    """Spans that words stand in: their place, and the value that they are, or the pieces."""
    of_words: tuple[tuple[int | None, Pieces], ...] | None
    """What the spans of words are, in order; `None`: words stand in the template's too."""
    same: tuple[bool, ...]
    longest: int
    """Characters of a word up to which the sandbox's budget surely suffices."""

    @property
    def size(self) -> int:
        """Characters that it takes, about."""
        texts = [span.text for span in self.spans]
        texts += [piece for *_, pieces in self.words for piece in pieces if isinstance(piece, str)]
        return sum(map(len, texts)) + _STEP_CHARACTERS * len(self.spans)

    def laid(self, values: list[Any]) -> Laid:
        """The spans with the values of one conversation."""
        spans = list(self.spans)
        empty = False
        for place, slot, pieces in self.words:
            text = joined(values, pieces) if slot is None else values[slot]
            spans[place] = spans[place]._replace(text=text)
            empty = empty or not text
        answers = list(self.answers)
        if empty:
            answers = [a for a, span in zip(answers, spans, strict=True) if span.text]
            spans = [span for span in spans if span.text]
        return Laid(spans, answers, list(self.same))

    def said(self, values: list[Any]) -> list[str] | None:
        """The texts that stand in spans of words; `None`: words stand in the template's too."""
        if self.of_words is None:
            return None
        return [
            joined(values, pieces) if slot is None else values[slot]
            for slot, pieces in self.of_words
        ]


def _path(found: Found, texts: Sequence[Pieces], longest: int) -> _Path:
    kept = [(p, text) for p, text in zip(found.parts, texts, strict=True) if text]
    spans, words = [], []
    for place, (part, text) in enumerate(kept):
        fixed = [piece for piece in text if isinstance(piece, str)]
        spans.append(Span("".join(fixed), part.answer is not None, part.control))
        if len(fixed) < len(text):
            words.append((place, _slot(text), text))
    answers = tuple(part.answer for part, _ in kept)
    apart = None
    if not any(spans[place].control for place, *_ in words):
        said = [(span, text) for span, (_, text) in zip(spans, kept, strict=True)]
        apart = tuple((_slot(text), text) for span, text in said if not span.control)
    return _Path(tuple(spans), answers, tuple(words), apart, tuple(found.same), longest)


def _slot(text: Pieces) -> int | None:
    """The value that a text is; `None`: it is made of pieces."""
    return text[0] if len(text) == 1 and isinstance(text[0], int) else None


class _Node:
    """One step, and what comes after each of its answers; or the end of a path."""

    __slots__ = ("answers", "ends", "path", "step", "then")

    def __init__(self) -> None:
        self.step: Step | None = None
        self.answers: dict[Any, _Node] = {}
        self.then: _Node | None = None
        self.ends = False
        self.path: _Path | None = None
        """`None` at an end: laid out by Jinja."""


class Traced:
    """Lays conversations out by the paths of those before them.

    Args:
        find: lays one out with the template itself; a trace watches the words.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._roots: dict[Shape, _Node] = {}
        self._paths: dict[Shape, int] = {}
        self._room = MOST_CHARACTERS

    def lay_out(self, shape: Shape, words: Sequence[str]) -> Laid:
        """What `find` gives, without empty parts.

        Raises:
            TemplateError: as `find` does.
        """
        root = self._roots.get(shape)
        if root is None:
            if len(self._roots) >= MOST_SHAPES:
                return self._plain(shape, words)
            root = self._roots[shape] = _Node()
        values: list[Any] = list(words)
        node = _follow(root, values)
        if node is None or not node.ends:
            return self._open(shape, words)
        path = node.path
        if path is None or max(map(len, words)) > path.longest:
            return self._plain(shape, words)
        return path.laid(values)

    def path_of(self, shape: Shape, words: Sequence[str]) -> tuple[Hashable, list[str]] | None:
        """What is the same of all conversations that are laid out alike, and what is not.

        Returns:
            A key: with equal ones `lay_out` gives equal spans but for the texts of words; and
            these texts, in order, empty ones too, whose spans are left out. `None` where no
            conversation has shown it.
        """
        values: list[Any] = list(words)
        node = _follow(self._roots.get(shape), values)
        path = None if node is None else node.path
        if path is None or max(map(len, words)) > path.longest:
            return None
        texts = path.said(values)
        return None if texts is None else (node, texts)

    def _plain(self, shape: Shape, words: Sequence[str]) -> Laid:
        return laid(self._find(shape, words, None))

    def _open(self, shape: Shape, words: Sequence[str]) -> Laid:
        """Lay out a conversation that no path fits; make it one, if it can be followed."""
        count = self._paths.get(shape, 0)
        if count >= MOST_PATHS or self._room <= 0:
            return self._plain(shape, words)
        self._paths[shape] = count + 1
        trace = Trace(words)
        path = self._watch(shape, trace)
        try:
            plain = self._plain(shape, words)
        except TemplateError:
            self._keep(shape, trace.steps, None)
            raise
        fits = path is not None and max(map(len, words)) <= path.longest
        if path is not None and fits and path.laid(trace.values) != plain:
            self._close(shape)
            return plain
        self._keep(shape, trace.steps, path)
        return plain

    def _watch(self, shape: Shape, trace: Trace) -> _Path | None:
        try:
            found = self._find(shape, watched_words(trace), trace)
            texts = [pieces_of(part.text) for part in found.parts]
        except (Opaque, TemplateError):
            return None
        return None if trace.broken else _path(found, texts, _longest(trace))

    def _keep(self, shape: Shape, steps: Sequence[Step], path: _Path | None) -> None:
        """Add a path to the tree of its shape."""
        self._room -= sum(map(_size, steps)) + (path.size if path else _STEP_CHARACTERS)
        node = self._roots[shape]
        for step in steps:
            question = step._replace(answer=None)
            if node.ends or (node.step is not None and node.step != question):
                self._close(shape)  # equal answers, and the template went another way
                return
            node.step = question
            if step.asked:
                node = node.answers.setdefault(step.answer, _Node())
            else:
                node.then = node.then or _Node()
                node = node.then
        if node.step is not None:
            self._close(shape)
            return
        node.ends, node.path = True, path

    def _close(self, shape: Shape) -> None:
        """From now on Jinja lays out conversations of a shape."""
        root = self._roots[shape] = _Node()
        root.ends = True


def _size(step: Step) -> int:
    pieces = step.args[0] if step.method is joined else step.args
    return _STEP_CHARACTERS + sum(len(piece) for piece in pieces if isinstance(piece, str))


def _follow(node: _Node | None, values: list[Any]) -> _Node | None:
    """The end of the path that some words take, with what was made on the way."""
    while node is not None and node.step is not None:
        method, slot, args, asked, _ = node.step
        value = method(values if slot is None else values[slot], *args)
        if asked:
            node = node.answers.get(value)
        else:
            values.append(value)
            node = node.then
    return node


def _longest(trace: Trace) -> int:
    """Characters of a word with which no rendering of a path can exceed the budget."""
    by_length = trace.sized / 64 + trace.listed  # four bytes a character
    size = (STEPS - trace.spent - trace.sized) / max(by_length, 1e-9)
    size = min(size, TEXT_CHARACTERS / 2)  # a replacement is charged for both texts
    return int((size - trace.constant) / trace.copies)
