"""What a program asks of some words and makes of them, written down in steps.

A text under watch consists of constants and private marks, one for each word or for what was
made of one. Whatever is asked becomes a `Step`: asked again of other words, equal answers
mean that the program does the same. What follows from the constants alone is not asked. A
mark that something changed unseen is no mark any more and is found (`pieces_of`).
Not here: the texts that a program can be run with (`watched.py`).
"""

from __future__ import annotations

import operator
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

MOST_STEPS = 2000
MOST_CHARACTERS = 1 << 24
"""Of a text that is put together while a program is watched."""
_SECRET = secrets.token_hex(8)
# Quotes, angles, letters of both cases and outer blanks: few functions leave such a mark whole.
_OPEN, _CLOSE = f' \ue000"<\\Aa{_SECRET}.', "\ue001 "
_MARK = re.compile(f"{re.escape(_OPEN)}([0-9]+){re.escape(_CLOSE)}")

Pieces = tuple[str | int, ...]
"""A text: constants, and numbers of values between them."""


class Opaque(Exception):
    """Something is done with a watched word that cannot be written down."""


class Step(NamedTuple):
    """One thing that was done with the values so far."""

    method: Callable[..., Any]
    slot: int | None
    """The value that it is a method of; `None`: it is given all of them."""
    args: tuple[Any, ...]
    asked: bool
    """Whether the result decides what happens next; else it is one more value."""
    answer: Any = None


def pieces_of(text: str) -> Pieces:
    """A text's constants and marks.

    Raises:
        Opaque: part of a mark stands in it.
    """
    out: list[str | int] = []
    for number, part in enumerate(_MARK.split(str.__str__(text))):
        if number % 2:
            out.append(int(part))
        elif part:
            if "\ue000" in part or "\ue001" in part or _SECRET in part:
                raise Opaque
            out.append(part)
    return tuple(out)


def text_of(pieces: Pieces) -> str:
    """The text with marks for its values."""
    return "".join(p if isinstance(p, str) else f"{_OPEN}{p}{_CLOSE}" for p in pieces)


def is_marked(text: str) -> bool:
    """Whether a plain text holds a mark or part of one."""
    return _SECRET in str.__str__(text)


def joined(values: list[Any], pieces: Pieces) -> str:
    """The text of pieces, with the values of one conversation."""
    return "".join([p if isinstance(p, str) else values[p] for p in pieces])


class Trace:
    """What is done with some words, and what it comes to for these.

    Args:
        words: the texts that are watched: the first values.

    Attributes:
        values: the words, then what was made of them.
        steps: what was asked and made, in order.
        copies: how often the longest word can stand in one text that is made.
        constant: characters of such a text beside the words.
        spent: steps of the sandbox's budget, of the dearest rendering, without those that it
            takes for the lengths of words.
        broken: something could not be followed.
        streams: iterators that were looked into, and what stands for each.
        sized: texts that one rendering is charged for by length; `listed`: lists likewise.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.values: list[Any] = list(words)
        self.steps: list[Step] = []
        self.copies, self.constant = 1, 0
        self.spent = self.sized = self.listed = 0
        self._sized = self._listed = 0
        self.broken = False
        self.streams: dict[int, tuple[Any, Any]] = {}
        self._longest = max(map(len, words), default=0)
        self._reach = [(1, 0)] * len(words)
        self._known: dict[tuple[Any, ...], Any] = {}

    def weigh(self, text: str, times: int = 1) -> None:
        """Note the size of a text that is made; its marks must be whole.

        Raises:
            Opaque: longer than a chat template needs; part of a mark stands in it.
        """
        copies, constant = self._weight(pieces_of(text))
        self._heavy(copies * times, constant * times)

    def count_text(self, times: int = 1) -> None:
        """A text that is charged for by length."""
        self._sized += times

    def count_list(self) -> None:
        """A list that is."""
        self._listed += 1

    def end_rendering(self, steps: int) -> None:
        """What a rendering has cost; each has the whole budget."""
        self.spent = max(self.spent, steps)
        self.sized, self._sized = max(self.sized, self._sized), 0
        self.listed, self._listed = max(self.listed, self._listed), 0

    def refused(self) -> Opaque:
        """What to raise where words cannot be followed; remembered even if it is caught."""
        self.broken = True
        return Opaque()

    def ask(self, method: Callable[..., Any], slot: int | None, *args: Any) -> Any:
        """The answer for these words; it decides what happens next."""
        key = (method, slot, args)
        if key not in self._known:
            self._known[key] = self._run(method, slot, args)
            self._note(Step(*key, asked=True, answer=self._known[key]))
        return self._known[key]

    def make(self, method: Callable[..., Any], slot: int | None, *args: Any) -> int:
        """The number of a value made from others."""
        key = (method, slot, args)
        if key not in self._known:
            weight = self._reach[slot] if slot is not None else self._weight(args[0])
            self._heavy(*weight)
            self.values.append(self._run(method, slot, args))
            self._reach.append(weight)
            self._known[key] = len(self.values) - 1
            self._note(Step(*key, asked=False))
        return self._known[key]

    def slot(self, pieces: Pieces) -> int:
        """The number of the value that a text is."""
        if len(pieces) == 1 and isinstance(pieces[0], int):
            return pieces[0]
        return self.make(joined, None, pieces)

    def relate(self, method: Callable[..., Any], left: Pieces, right: Pieces) -> Any:
        """What a method of one text says of another."""
        if all(isinstance(piece, str) for piece in right):
            return self.ask(method, self.slot(left), "".join(map(str, right)))
        return self.ask(_between, None, method, self.slot(left), self.slot(right))

    def begins(self, whole: str, part: str, *, at_end: bool = False) -> bool:
        """`whole.startswith(part)`, or `endswith`."""
        left, right, differ = _shed(pieces_of(whole), pieces_of(part), at_end=at_end)
        if not right or differ:
            return not right
        if not left:
            return not any(isinstance(p, str) for p in right) and self.equal("", text_of(right))
        return self.relate(str.endswith if at_end else str.startswith, left, right)

    def without(self, whole: str, part: str, *, at_end: bool = False) -> str:
        """`whole.removeprefix(part)`, or `removesuffix`."""
        if not self.begins(whole, part, at_end=at_end):
            return whole
        left, right, _ = _shed(pieces_of(whole), pieces_of(part), at_end=at_end)
        if not right:
            return text_of(left)
        if not all(isinstance(p, str) for p in right):
            raise self.refused()
        method = str.removesuffix if at_end else str.removeprefix
        cut = self.make(method, self.slot(left), "".join(map(str, right)))
        return text_of((cut,))

    def equal(self, one: str, other: str) -> bool:
        """`one == other`."""
        left, right, differ = _shed(pieces_of(one), pieces_of(other), at_end=False)
        if not differ:
            left, right, differ = _shed(left, right, at_end=True)
        if differ or not (left or right):
            return not differ
        if not left or not right:
            rest = left or right
            return not any(isinstance(p, str) for p in rest) and not self.truth(text_of(rest))
        if all(isinstance(p, str) for p in left):
            left, right = right, left
        return self.relate(operator.eq, left, right)

    def truth(self, text: str) -> bool:
        """`bool(text)`."""
        pieces = pieces_of(text)
        if any(isinstance(piece, str) for piece in pieces) or not pieces:
            return bool(pieces)
        return self.ask(bool, self.slot(pieces))

    def now(self, form: str) -> str:
        """The time as text: what follows from it holds while that text is the same."""
        return self.ask(_now, None, form)

    def _heavy(self, copies: int, constant: int) -> None:
        self.copies, self.constant = max(self.copies, copies), max(self.constant, constant)
        if self.copies * self._longest + self.constant > MOST_CHARACTERS:
            raise self.refused()

    def _weight(self, pieces: Pieces) -> tuple[int, int]:
        reach = [(0, len(p)) if isinstance(p, str) else self._reach[p] for p in pieces]
        return sum(copies for copies, _ in reach), sum(constant for _, constant in reach)

    def _run(self, method: Callable[..., Any], slot: int | None, args: tuple[Any, ...]) -> Any:
        return method(self.values if slot is None else self.values[slot], *args)

    def _note(self, step: Step) -> None:
        if len(self.steps) >= MOST_STEPS:
            raise self.refused()
        self.steps.append(step)


def _shed(left: Pieces, right: Pieces, *, at_end: bool) -> tuple[Pieces, Pieces, bool]:
    """Both texts without what both begin (or end) with; whether they surely differ there."""
    a, b = (list(left[::-1]), list(right[::-1])) if not at_end else (list(left), list(right))
    differ = False
    while a and b:
        x, y = a[-1], b[-1]
        if isinstance(x, str) and isinstance(y, str):
            size = min(len(x), len(y))
            differ = x[-size:] != y[-size:] if at_end else x[:size] != y[:size]
            if differ:
                break
            a[-1], b[-1] = (x[:-size], y[:-size]) if at_end else (x[size:], y[size:])
        elif x == y:
            a[-1] = b[-1] = ""
        else:
            break
        for rest in (a, b):
            if rest[-1] == "":
                rest.pop()
    step = 1 if at_end else -1
    return tuple(a[::step]), tuple(b[::step]), differ


def _between(values: list[Any], method: Callable[..., Any], left: int, right: int) -> Any:
    return method(values[left], values[right])


def _now(_values: list[Any], form: str) -> str:
    return datetime.now().strftime(form)
