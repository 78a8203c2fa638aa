"""`tunesmith data stats run.yaml`: how long the rows are, and what each layout makes of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli import target
from tunesmith.cli.written import is_png, new_file
from tunesmith.errors import printable

if TYPE_CHECKING:
    from tunesmith.data.statistics import Cutoff, Histogram, Spread, Statistics

_WIDTH, _NARROWEST = 80, 60
_EIGHTHS = " ▏▎▍▌▋▊▉"


def options(parser: argparse._ActionsContainer) -> None:
    """Where the picture goes."""
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it, too")


def show(arguments: argparse.Namespace) -> int:
    """Print the statistics of what a run learns from."""
    if arguments.png:
        new_file("--png", arguments.png, what="a picture", is_one=is_png)
    asked = target.read(arguments.name, arguments.overrides, to_train=True)
    from tunesmith import store
    from tunesmith.cli import data_picture
    from tunesmith.data.statistics import Batching, statistics
    from tunesmith.training import reading, units
    from tunesmith.training.report import Silent, report_for, width_of

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    found = reading.read(asked, report)
    report.close()
    how = Batching(
        cutoff_len=asked.dataset.cutoff_len,
        batch_size=asked.train.per_device_train_batch_size,
        global_batch=asked.global_batch(),
        seed=asked.train.seed,
        shuffle=not asked.dataset.disable_shuffling,
        unit=units.unit_of(asked, carries_state=found.wording.carries_state),
    )
    said = statistics(found.data.train, found.data.eval, how)
    if arguments.json:
        print(json.dumps(said.as_dict(), ensure_ascii=False))
    else:
        print(printable(text(said, width=width_of(sys.stdout) or _WIDTH)))
    if arguments.png:
        store.write_bytes(arguments.png, data_picture.draw(said, Path(arguments.name).name))
        if not arguments.json:
            print(f"\npicture {arguments.png}")
    return 0


def text(said: Statistics, *, width: int = _WIDTH) -> str:
    """The statistics for people.

    Args:
        said: what was found.
        width: columns of the terminal; the bars fill it.
    """
    width = max(width, _NARROWEST)
    held_out = f", {said.held_out:,} held out" if said.held_out else ""
    head = f"{_counted(said.examples, 'example')} to train on{held_out}"
    blocks = [
        [f"{head}; {100 * said.trained:.1f} % of the tokens are trained"],
        _lengths(said),
        _bars(said.histogram, said.examples, width),
        _parts(said, width),
        _layouts(said),
        list(_cutoff(said.cutoff)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def _lengths(said: Statistics) -> list[str]:
    head = ["tokens", "mean", "median", "95 %", "99 %", "most", "in all", "share"]
    rows = [head]
    for name, one in (("total", said.total), ("prompt", said.prompt), ("answer", said.answer)):
        share = f"{100 * one.total / said.total.total:.1f} %"
        rows.append([f"  {name}", *_spread(one), f"{one.total:,}", share])
    rows.append(["turns", *_spread(said.turns, ".1f"), "", ""])
    return _table(rows)


def _spread(one: Spread, mean: str = ",.0f") -> list[str]:
    return [f"{one.mean:{mean}}", *(f"{n:,}" for n in (one.median, one.p95, one.p99, one.most))]


def _bars(found: Histogram, examples: int, width: int) -> list[str]:
    """Three histograms side by side, over one scale."""
    last = " or more" if found.open_ended else f"–{found.starts[-1] + found.width - 1:,}"
    ends = [*(f"–{start - 1:,}" for start in found.starts[1:]), last]
    labels = [f"{start:,}{end}" for start, end in zip(found.starts, ends, strict=True)]
    first = max(len("tokens"), *(len(label) + 2 for label in labels))
    column = (width - first) // 3
    most = max(*found.total, *found.prompt, *found.answer)
    head = f"{'tokens':<{first}}" + "".join(
        f"  {n:<{column - 2}}" for n in ("total", "prompt", "answer")
    )
    lines = [head.rstrip()]
    for label, *counts in zip(labels, found.total, found.prompt, found.answer, strict=True):
        cells = (_bar(n, most, examples, column - 2) for n in counts)
        lines.append((f"  {label:<{first - 2}}" + "".join(f"  {cell}" for cell in cells)).rstrip())
    return lines


def _bar(count: int, most: int, examples: int, width: int) -> str:
    """A bar with its share behind it."""
    if not count:
        return " " * width
    share = 100 * count / examples
    said = "<1 %" if share < 1 else f"{share:.0f} %"
    eighths = max(1, round(8 * (width - 6) * count / most))
    bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return f"{bar} {said}".ljust(width)


def _parts(said: Statistics, width: int) -> list[str]:
    wholes = said.examples, said.total.total, said.answer.total
    rows = [["data set", "examples", "", "tokens", "", "trained", ""]]
    for part in said.parts:
        row = [f"  {part.name}"]
        for count, whole in zip((part.examples, part.tokens, part.trained), wholes, strict=True):
            row += [f"{count:,}", f"{100 * count / max(whole, 1):.0f} %"]
        rows.append(row)
    room = width - sum(max(len(row[i]) for row in rows) + 2 for i in range(1, 7))
    for row in rows:
        row[0] = row[0] if len(row[0]) <= room else f"  …{row[0][4 - room :]}"
    return _table(rows)


def _layouts(said: Statistics) -> list[str]:
    rows = [["an epoch, laid out", "positions", "empty", "steps"]]
    for layout in said.layouts:
        row = [f"  {layout.name}", f"{layout.positions:,}", f"{100 * layout.waste:.1f} %"]
        rows.append([*row, f"{layout.steps:,}"])
    lines = _table(rows)
    return [
        line + "  ← this run" * (number > 0 and said.layouts[number - 1].chosen)
        for number, line in enumerate(lines)
    ]


def _cutoff(found: Cutoff) -> Iterator[str]:
    share = f"{100 * found.over / found.texts:.1f} %"
    over = f"{found.over:,} of {_counted(found.texts, 'text')} longer ({share})"
    became = f": {found.shortened:,} shortened, {found.left_out:,} left out" if found.over else ""
    yield f"cutoff_len {found.cutoff_len:,}: {over}{became}"
    rows = [["to keep", *found.keeps_whole], ["  whole", *map(_cell, found.keeps_whole.values())]]
    if found.keeps_answers != found.keeps_whole:
        rows.append(["  the answers", *map(_cell, found.keeps_answers.values())])
    yield from _table(rows)


def _cell(number: int) -> str:
    return f"{number:,}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns right-aligned, but for the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
