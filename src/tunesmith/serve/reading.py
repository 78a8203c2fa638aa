"""What an answer says, read while it comes: its thought, its words, its calls.

Text that may turn out to be a call, or a mark of thinking, is held back until it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

import tokenizers

from tunesmith.infer.request import Delta
from tunesmith.infer.stream import TextStream
from tunesmith.types import Call

Read = Callable[[str], tuple[str, tuple[Call, ...]]]


class Part(NamedTuple):
    """A piece of text that is safe to show."""

    kind: Literal["thought", "words"]
    text: str


class Style(NamedTuple):
    """How the answers of a template are to be read."""

    marks: tuple[str, str] | None = None
    """What opens and closes a thought."""
    leads: tuple[str, ...] = ()
    """What may stand before the words of an answer without a thought, longest first."""
    thinking: bool = False
    """Whether the prompt itself has opened one."""
    call: str | None = None
    """What calls begin with, "": with anything; `None`: there are none to look for."""
    read: Read | None = None
    """From words, marks of calls included, to words and calls."""
    skipped: Collection[int] | None = None
    """Special tokens that are no part of an answer; `None`: all. The marks may be others."""


class Reading:
    """One answer.

    Args:
        style: how it is to be read.
        backend: makes text of ids.
        stop_ids: end the answer.
        stop_texts: end it too.
    """

    def __init__(
        self,
        style: Style,
        backend: tokenizers.Tokenizer,
        *,
        stop_ids: Collection[int],
        stop_texts: Sequence[str] = (),
    ) -> None:
        self._style, self._stop_ids = style, stop_ids
        marked = style.marks is not None or style.call is not None or bool(style.leads)
        # marks are often special tokens, which the engine's text leaves out
        stream = TextStream(backend, stop_texts, skipped=style.skipped)
        self._stream = stream if marked else None
        self._state: Literal["start", "thought", "words", "call", "done"] = "start"
        if style.thinking:
            self._state = "thought"
        elif style.marks is None and not style.leads:
            self._state = "words"
        self._held = ""
        self._begun = False  # whether anything of the thought, then of the words, is out
        self._stopped = False
        self.calls: tuple[Call, ...] = ()

    def take(self, delta: Delta) -> list[Part]:
        """What can be shown after one more delta."""
        if self._stream is None:
            return [Part("words", delta.text)] if delta.text else []
        for token in delta.tokens:
            if token.id not in self._stop_ids and not self._stopped:
                piece = self._stream.push(token.id)
                self._held, self._stopped = self._held + piece.text, piece.stopped
        if delta.finish and not self._stopped:
            self._held += self._stream.finish().text
        return self._merged(self._ready(last=delta.finish is not None))

    def _ready(self, *, last: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            before = self._state, self._held
            part = getattr(self, f"_in_{self._state}")(last)
            parts += [part] if part and part.text else []
            if (self._state, self._held) == before:
                return parts

    def _in_start(self, last: bool) -> Part | None:
        """Does a thought begin the answer, or what stands there for none?"""
        marks, leads, held = self._style.marks, self._style.leads, self._held
        opened, said = marks[0].strip() if marks else "", held.lstrip()
        if not last and (
            any(len(held) < len(lead) and lead.startswith(held) for lead in leads)
            or (opened and len(said) < len(opened) and opened.startswith(said))
        ):
            return None
        lead = next(filter(held.startswith, leads), "")
        if lead:
            self._held, self._state = held.removeprefix(lead), "words"
        elif opened and said.startswith(opened):
            self._held, self._state = said.removeprefix(opened), "thought"
        else:
            self._state = "words"
        return None

    def _in_thought(self, last: bool) -> Part | None:
        assert self._style.marks is not None, "a thought has marks"
        closed = self._style.marks[1].strip()
        if not self._begun:
            self._held = self._held.lstrip("\n")
        thought, found, rest = self._held.partition(closed)
        if found:
            self._held, self._state, self._begun = rest, "words", False
            return Part("thought", thought.rstrip("\n"))
        ready = len(self._held) if last else _safe(self._held, closed)
        while not last and ready and self._held[ready - 1] == "\n":
            ready -= 1
        part, self._held = Part("thought", self._held[:ready]), self._held[ready:]
        self._begun = self._begun or bool(part.text)
        return part

    def _in_words(self, last: bool) -> Part | None:
        if not self._begun and self._style.marks is not None:
            self._held = self._held.lstrip("\n")  # what separates a thought from the words
        call = self._style.call
        at = -1 if call is None else self._held.find(call)
        ready = at if at >= 0 else len(self._held) if last else _safe(self._held, call or "")
        if call is not None:  # white space before a call is not words
            ready = ready if last and at < 0 else len(self._held[:ready].rstrip())
        part, self._held = Part("words", self._held[:ready]), self._held[ready:]
        self._begun = self._begun or bool(part.text)
        if at >= 0:
            self._state = "call"
        return part

    def _in_call(self, last: bool) -> Part | None:
        """Everything waits for the end of the answer."""
        if not last:
            return None
        assert self._style.read is not None, "what begins calls comes with how they are read"
        words, self.calls = self._style.read(self._held)
        text = words.strip() if self.calls else self._held
        self._held, self._state = "", "done"
        return Part("words", text)

    def _in_done(self, last: bool) -> Part | None:
        return None

    @staticmethod
    def _merged(parts: Sequence[Part]) -> list[Part]:
        merged: list[Part] = []
        for part in parts:
            if merged and merged[-1].kind == part.kind:
                part = Part(part.kind, merged.pop().text + part.text)
            merged.append(part)
        return merged


def _safe(text: str, mark: str) -> int:
    """How much of a text cannot be the beginning of a mark."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:size]):
            return len(text) - size
    return len(text)
