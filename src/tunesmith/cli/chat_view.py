"""How a chat looks: on a terminal, in two columns, and in a pipe.

On a terminal everything stands in order on one screen. In a pipe stdout has the answers alone, so
that a script can use them, and whatever else is told goes to stderr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tunesmith.errors import printable
from tunesmith.infer.thinking import Marks, Thinking

REPLY = "Assistant"
COLUMNS = 80
"""A terminal of so many columns or more shows two answers side by side."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"

Write = Callable[[str], Any]


class Turn(Protocol):
    """The answers to one question while they come, one after the other."""

    def begin(self, name: str) -> None:
        """The answer of this model follows."""
        ...

    def write(self, text: str) -> None:
        """A piece of it."""
        ...

    def end(self) -> None:
        """It is complete."""
        ...

    def refuse(self, why: str) -> None:
        """There is none."""
        ...


class View(Protocol):
    """Where a chat is shown."""

    @contextmanager
    def turn(self, names: Sequence[str]) -> Iterator[Turn]:
        """One question to these models."""
        ...

    def note(self, text: str) -> None:
        """Something that no model said."""
        ...


class Lines:
    """Answers one under the other, as they come.

    Args:
        write: shows answers.
        tell: shows what is told beside them; `None`: `write`, in brackets.
        marks: of thoughts; see `Thinking`.
        terminal: thoughts stand out by dim letters, and nothing steers the terminal.
        hide: whether thoughts are left out.
    """

    def __init__(
        self,
        write: Write,
        tell: Write | None = None,
        *,
        marks: Marks | None = None,
        terminal: bool = False,
        hide: bool = False,
    ) -> None:
        self._write, self._tell, self._marks = write, tell, marks
        self._terminal, self._hide = terminal, hide
        self._names: Sequence[str] = ()
        self._name, self._thinking, self._fresh = "", Thinking(None), True

    @contextmanager
    def turn(self, names: Sequence[str]) -> Iterator[Turn]:
        """See `View`."""
        self._names = names
        try:
            yield self
        except KeyboardInterrupt:
            self._write("\n")
            raise

    def note(self, text: str) -> None:
        """See `View`."""
        text = printable(text) if self._terminal else text
        if self._tell is not None:
            self._tell(f"{text}\n")
        else:
            self._write(text + "\n" if "\n" in text else f"({text})\n")

    def begin(self, name: str) -> None:
        """See `Turn`."""
        self._name, self._thinking, self._fresh = name, Thinking(self._marks), True
        if self._tell is None or len(self._names) > 1:
            self._write(f"{name}: ")

    def write(self, text: str) -> None:
        """See `Turn`."""
        self._show(self._thinking.push(text))

    def end(self) -> None:
        """See `Turn`."""
        self._show(self._thinking.finish())
        self._write("\n")

    def refuse(self, why: str) -> None:
        """See `Turn`."""
        if self._tell is None:
            self._write(f"(refused: {why})\n")
            return
        if len(self._names) > 1:
            self._write("\n")
            why = f"{self._name}: {why}"
        self._tell(f"refused: {why}\n")

    def _show(self, pieces: list[tuple[str, bool]]) -> None:
        for piece, thought in pieces:
            text = printable(piece) if self._terminal else piece
            if not self._hide:
                self._write(f"{_DIM}{text}{_PLAIN}" if thought and self._terminal else text)
            elif not thought:
                shown = text.lstrip() if self._fresh else text
                self._fresh = self._fresh and not shown
                self._write(shown)


class Columns:
    """The answers of two models side by side on a terminal, each as it comes.

    Args:
        write: shows what is told beside them.
        marks: of thoughts, which are dim.
        hide: whether thoughts are left out.
    """

    def __init__(self, write: Write, *, marks: Marks | None = None, hide: bool = False) -> None:
        self._lines = Lines(write, terminal=True)
        self._marks, self._hide = marks, hide
        self._cells: dict[str, Any] = {}
        self._name, self._thinking = "", Thinking(None)
        self._live: Any = None

    @contextmanager
    def turn(self, names: Sequence[str]) -> Iterator[Turn]:
        """See `View`."""
        from rich.live import Live
        from rich.text import Text

        self._cells = {name: Text() for name in names}
        with Live(self._table(), refresh_per_second=8, vertical_overflow="ellipsis") as self._live:
            yield self
            self._live.update(self._table())

    def note(self, text: str) -> None:
        """See `View`."""
        self._lines.note(text)

    def begin(self, name: str) -> None:
        """See `Turn`."""
        self._name, self._thinking = name, Thinking(self._marks)

    def write(self, text: str) -> None:
        """See `Turn`."""
        self._show(self._thinking.push(text))

    def end(self) -> None:
        """See `Turn`."""
        self._show(self._thinking.finish())

    def refuse(self, why: str) -> None:
        """See `Turn`."""
        self._cells[self._name].append(f"(refused: {printable(why)})")
        self._live.update(self._table())

    def _show(self, pieces: list[tuple[str, bool]]) -> None:
        cell = self._cells[self._name]
        for text, thought in pieces:
            if self._hide and thought:
                continue
            text = printable(text)
            if self._hide and not cell:
                text = text.lstrip()
            cell.append(text, style="dim" if thought else "")
        self._live.update(self._table())

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1), pad_edge=False)
        for name in self._cells:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*self._cells.values())
        return table
