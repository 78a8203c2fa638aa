"""What a run says while it works: a live bar on a terminal, plain lines elsewhere.

Nothing here decides anything. `Report` is the whole vocabulary.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TextIO

import numpy as np

from tunesmith.errors import printable
from tunesmith.training.metrics import clock
from tunesmith.types import Example, Tokenizer

STEP_FORMAT = (
    "step {current_steps}/{total_steps}  loss {loss:.4f}  grad_norm {grad_norm:.3f}  "
    "learning_rate {lr:.3e}  epoch {epoch:.2f}  {throughput:.0f} tokens/s  left {remaining_time}"
)

NARROW_FORMAT = (
    "step {current_steps}/{total_steps}  loss {loss:.4f}  grad_norm {grad_norm:.2f}  "
    "lr {lr:.2e}  epoch {epoch:.2f}"
)
"""For a terminal of 80 columns; the bar below has the speed and the time left."""
_WIDE = 110


class Report:
    """Where a run tells how it goes; this one keeps silent."""

    width: int | None = None
    """Columns that long text is wrapped to; `None`: not at all."""

    def say(self, text: str) -> None:
        """Something worth a line (or several)."""

    def example(self, pieces: Sequence[tuple[str, bool]]) -> None:
        """A training example as text in pieces, each with whether it is trained."""

    def work(self, what: str, done: int, total: int | None) -> None:
        """Preparation, evaluation: `done` of `total` rows; `None`: nobody knows yet."""

    def step(
        self, done: int, total: int, *, loss: float, tokens_per_second: float, left: float
    ) -> None:
        """One optimizer step; seconds left."""

    def log(self, record: Mapping[str, Any]) -> None:
        """A line of `trainer_log.jsonl` (training or evaluation)."""

    def close(self) -> None:
        """The run is over, for whatever reason."""


class Silent(Report):
    """Says nothing: for `--json` and the Python API."""


class Plain(Report):
    """One flushed line per event, no control characters: for files, pipes and nohup."""

    def __init__(self, stream: TextIO, *, work_every_seconds: float = 10.0) -> None:
        self._stream: TextIO | None = stream
        self._every = work_every_seconds
        self._last_work = time.monotonic()
        self._told = ""  # the work that a line has been printed about, not yet its end

    def say(self, text: str) -> None:
        """Print it."""
        if self._stream is None:
            return
        try:
            print(printable(text), file=self._stream, flush=True)
        except OSError:  # the reader has gone, the log's disk is full: training goes on
            self._stream = None

    def example(self, pieces: Sequence[tuple[str, bool]]) -> None:
        """Print it with the trained pieces in brackets."""
        self.say(bracketed(pieces))

    def work(self, what: str, done: int, total: int | None) -> None:
        """Print now and then: long work must not look dead."""
        late = time.monotonic() - self._last_work > self._every
        ended = total is not None and done >= total
        if late or (ended and self._told == what):
            self._last_work, self._told = time.monotonic(), "" if ended else what
            self.say(f"{what}: {done}/{'?' if total is None else total}")

    def log(self, record: Mapping[str, Any]) -> None:
        """Print the record in fixed columns."""
        self.say(line(record))


class Live(Report):
    """A progress bar that stays at the bottom of the terminal, lines above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=stream, highlight=False)
        self.width = self._console.width - 1
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}  {task.fields[facts]}"),
            console=self._console,
            transient=True,
        )
        self._task: Any = None
        self._what = ""

    def say(self, text: str) -> None:
        """Print it above the bar."""
        self._console.print(printable(text), markup=False, soft_wrap=True)

    def example(self, pieces: Sequence[tuple[str, bool]]) -> None:
        """Print it with the trained pieces in green, in brackets where there are no colours."""
        from rich.text import Text

        if not in_colour(self._console):
            self.say(bracketed(pieces))
            return
        shown = Text("example 0, what is trained in green:\n")
        for text, trained in pieces:
            shown.append(printable(text), style="bold green" if trained else "dim")
        self._console.print(shown, soft_wrap=True)

    def work(self, what: str, done: int, total: int | None) -> None:
        """Move the bar."""
        if self._what != what and total is not None and done >= total:
            return  # it has been there all the time
        self._move(what, done, total, "rows")
        if total is not None and done >= total:
            self.close()

    def step(
        self, done: int, total: int, *, loss: float, tokens_per_second: float, left: float
    ) -> None:
        """Move the bar."""
        facts = f"loss {loss:.4f}  {tokens_per_second:.0f} tokens/s  left {clock(left)}"
        self._move("training", done, total, facts)

    def log(self, record: Mapping[str, Any]) -> None:
        """Print the record above the bar, on one line of the terminal."""
        self.say(line(record, narrow=self._console.width < _WIDE))

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.stop()
            self._bar.remove_task(self._task)
            self._task, self._what = None, ""

    def _move(self, what: str, done: int, total: int | None, facts: str) -> None:
        if what != self._what:
            self.close()
            self._task = self._bar.add_task(what, total=total, facts="", count="")
            self._what = what
            self._bar.start()
        count = f"{done}/{'?' if total is None else total}"
        self._bar.update(self._task, completed=done, total=total, facts=facts, count=count)


def report_for(stream: TextIO) -> Report:
    """A live bar where `stream` is a terminal, plain lines otherwise."""
    return Live(stream) if stream.isatty() else Plain(stream)


def in_colour(console: Any) -> bool:
    """Whether a reader sees colours: a terminal that has them, and no `NO_COLOR`."""
    return console.is_terminal and not console.no_color and console.color_system is not None


def pieces(example: Example, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """An example as text, cut where trained begins or ends."""
    starts = [0, *(np.flatnonzero(np.diff(example.trained)) + 1).tolist(), len(example.ids)]
    return [
        (
            tokenizer.backend.decode(example.ids[start:end].tolist(), skip_special_tokens=False),
            bool(example.trained[start]),
        )
        for start, end in pairwise(starts)
    ]


def bracketed(pieces: Sequence[tuple[str, bool]]) -> str:
    """An example with the trained pieces in brackets."""
    marked = (f"⟦{text}⟧" if trained else text for text, trained in pieces)
    return f"example 0, what is trained in ⟦⟧:\n{_indented(''.join(marked))}"


def _indented(text: str) -> str:
    return "\n".join(f"    {part}" for part in text.split("\n"))


def width_of(stream: TextIO) -> int | None:
    """Columns of a terminal; `None` for anything else, which is never wrapped."""
    return shutil.get_terminal_size().columns - 1 if stream.isatty() else None


def line(record: Mapping[str, Any], *, narrow: bool = False) -> str:
    """One line for a record of `trainer_log.jsonl`."""
    if "loss" in record:
        return NARROW_FORMAT.format(**record) if narrow else STEP_FORMAT.format(**record)
    shown = [
        f"{key} {record[key]:.4f}"
        for key in ("eval_loss", "eval_perplexity", "eval_accuracy", *_of_each_dataset(record))
        if key in record
    ]
    return f"step {record['current_steps']}/{record['total_steps']}  {'  '.join(shown)}"


def _of_each_dataset(record: Mapping[str, Any]) -> list[str]:
    """The losses that `eval_on_each_dataset` adds."""
    return [k for k in record if k.startswith("eval_") and k.endswith("_loss") and k != "eval_loss"]
