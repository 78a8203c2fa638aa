"""Rows of a run on a terminal: coloured by what becomes of each token, or with that in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tunesmith.data.visible import visible

if TYPE_CHECKING:
    from tunesmith.data.show import Showing, Shown, Text
    from tunesmith.data.uncut import Token

_STYLES = {"control": "cyan", "context": "", "trained": "green", "cut": "red strike"}
_LEGEND = {
    "control": "the template's own",
    "context": "only read",
    "trained": "learned",
    "cut": "over the cutoff",
}
_MARGIN = max(map(len, _LEGEND))
_LEAST = 20  # columns of text beside the margin


def show(found: Showing) -> None:
    """Print rows, with colours where there are any."""
    from tunesmith.training.report import width_of

    console = _console()
    for line in found.chosen:
        print(visible(line))
    if console is None:
        width = width_of(sys.stdout)
        for row in found.rows:
            print("\n" + "\n".join(_in_words(row, width)))
    else:
        _legend(console)
        for row in found.rows:
            _in_colours(row, console)
    if found.notes:
        print("\nof these rows")
    for note in found.notes:
        print(f"  {visible(note)}")


def _console() -> Any:
    """Where colours go; `None`: nowhere."""
    from rich.console import Console

    from tunesmith.training.report import in_colour

    console = Console(highlight=False)
    return console if in_colour(console) else None


def _legend(console: Any) -> None:
    from rich.text import Text as Line

    line = Line()
    for kind, said in _LEGEND.items():
        line.append(" · " if line else "").append(kind, style=_STYLES[kind]).append(f" {said}")
    console.print(line)


def _head(row: Shown) -> str:
    held_out = "  held out" if row.held_out else ""
    return visible(f"{row.origin}  {row.origin.dataset}{held_out}")


def _counts(text: Text, number: int, of: int) -> str:
    which = f"text {number} of {of}: " if of > 1 else ""
    if not text.num_kept:
        return f"{which}{text.count('cut'):,} tokens, all cut"
    cut = f", {text.count('cut'):,} cut" if text.count("cut") else ""
    count = "1 token" if text.num_kept == 1 else f"{text.num_kept:,} tokens"
    return f"{which}{count}, {text.count('trained'):,} trained{cut}"


def _skipped(row: Shown) -> Iterator[str]:
    """Why a row is not used."""
    skip = row.skip
    if skip is None:
        return
    yield f"skipped: {skip.reason}"
    told = skip.as_dict()
    facts = {"where": told["place"], "got": told["got"], "need": skip.need, "try": skip.hint}
    for key, value in facts.items():
        if value:
            yield f"  {key:<5}  {value}"


def _in_colours(row: Shown, console: Any) -> None:
    from rich.text import Text as Line

    console.print()
    console.print(Line(_head(row), style="bold"), soft_wrap=True)
    for line in _skipped(row):
        console.print(Line(visible(line), style="yellow"), soft_wrap=True)
    for number, text in enumerate(row.texts, start=1):
        if number > 1:
            console.print()
        console.print(Line(_counts(text, number, len(row.texts)), style="dim"), soft_wrap=True)
        for note in text.notes:
            console.print(Line(visible(note), style="yellow"), soft_wrap=True)
        page = Line()
        for (kind, control), run in groupby(text.tokens, lambda t: (t.kind, t.control)):
            bold = "bold " if (kind, control) == ("trained", True) else ""
            page.append(visible(_joined(run)), style=f"{bold}{_STYLES[kind]}".strip())
        page.rstrip()
        console.print(page, soft_wrap=True)
    if row.raw:
        console.print(Line(visible(row.raw)), soft_wrap=True)


def _in_words(row: Shown, width: int | None) -> Iterator[str]:
    yield _head(row)
    yield from map(visible, _skipped(row))
    for number, text in enumerate(row.texts, start=1):
        if number > 1:
            yield ""
        yield _counts(text, number, len(row.texts))
        yield from map(visible, text.notes)
        for kind, run in groupby(text.tokens, lambda token: token.kind):
            yield from _beside_margin(kind, _joined(run), width)
    for line in row.raw.splitlines():
        yield visible(line)


def _beside_margin(kind: str, text: str, width: int | None) -> Iterator[str]:
    r"""A run of tokens, its kind in the margin; `↵` is a `\n` of the text."""
    lines = visible(text).replace("\n", "↵\n").split("\n")
    label = kind
    for line in lines[:-1] if not lines[-1] else lines:
        for part in _wrapped(line, width):
            yield f"{label:<{_MARGIN}} │ {part}"
            label = ""


def _wrapped(line: str, width: int | None) -> Sequence[str]:
    if width is None:
        return [line]
    from rich.cells import chop_cells

    return chop_cells(line, max(_LEAST, width - _MARGIN - 3)) or [""]


def _joined(run: Iterator[Token]) -> str:
    return "".join(token.text for token in run)
