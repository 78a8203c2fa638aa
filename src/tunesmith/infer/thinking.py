"""An answer that arrives in pieces, parted into what is thought and what is said."""

from __future__ import annotations

from typing import NamedTuple


class Marks(NamedTuple):
    """What stands around a thought in the text of an answer."""

    open: str
    close: str
    opened: bool = False
    """The prompt has opened the thought: the answer begins inside it."""
    leads: tuple[str, ...] = ()
    """What may stand before an answer's words where nothing was thought, longest first."""


class Thinking:
    """Says of each piece whether it is part of the thought that begins the answer.

    The pieces joined are the answer, marks included (they count as thought) but for what the
    template puts before words without a thought. A mark that may still become whole is held back;
    one that does not begin the answer is words like any other.

    Args:
        marks: of the template; `None`: nothing is a thought.
    """

    def __init__(self, marks: Marks | None) -> None:
        self._marks = marks
        self._held = ""
        if marks is None:
            self._state = "said"
        else:
            self._state = "thought" if marks.opened else "start"

    def push(self, text: str) -> list[tuple[str, bool]]:
        """One more piece: what can be shown now, and whether it is thought."""
        held, self._held = self._held + text, ""
        found: list[tuple[str, bool]] = []
        if self._state == "start":
            held = self._begin(held)
        if self._state == "thought":
            held = self._think(held, found)
        if self._state == "said":
            found.append((held, False))
        else:
            self._held = held
        return [piece for piece in found if piece[0]]

    def finish(self) -> list[tuple[str, bool]]:
        """What was held back: the answer has ended."""
        held, self._held = self._held, ""
        if self._state == "start":
            held = self._begin(held, last=True)
        return [(held, self._state == "thought")] if held else []

    def _begin(self, held: str, *, last: bool = False) -> str:
        assert self._marks is not None, "without marks everything is said"
        words, mark = held.lstrip(), self._marks.open
        if not last and (
            any(len(held) < len(lead) and lead.startswith(held) for lead in self._marks.leads)
            or (len(words) < len(mark) and mark.startswith(words))
        ):
            return held
        lead = next(filter(held.startswith, self._marks.leads), "")
        self._state = "thought" if words.startswith(mark) and not lead else "said"
        return held.removeprefix(lead)

    def _think(self, held: str, found: list[tuple[str, bool]]) -> str:
        assert self._marks is not None, "without marks nothing is thought"
        end = held.find(self._marks.close)
        if end >= 0:
            end += len(self._marks.close)
            found.append((held[:end], True))
            self._state = "said"
            return held[end:]
        sizes = range(len(self._marks.close) - 1, 0, -1)
        begun = next((n for n in sizes if held.endswith(self._marks.close[:n])), 0)
        cut = len(held) - begun
        found.append((held[:cut], True))
        return held[cut:]


def said(text: str, marks: Marks | None) -> str:
    """A whole answer without the thought that begins it."""
    pieces = _pieces(text, marks)
    rest = "".join(piece for piece, thought in pieces if not thought)
    return rest.lstrip() if any(thought for _, thought in pieces) else rest


def whole(text: str, marks: Marks | None) -> str:
    """A whole answer with its thought, without what stands before words where there is none."""
    return "".join(piece for piece, _ in _pieces(text, marks))


def _pieces(text: str, marks: Marks | None) -> list[tuple[str, bool]]:
    thinking = Thinking(marks)
    return [*thinking.push(text), *thinking.finish()]
