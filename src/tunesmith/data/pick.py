"""Which rows of a run are shown: a spread over the beginning of each dataset, or named places.

Both read no more of a file than they must.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

from tunesmith.data.convert import laid_out
from tunesmith.data.entry import Entry
from tunesmith.data.ledger import Skip, counted
from tunesmith.data.order import permutation
from tunesmith.data.rows import Row, files, open_sources, rows
from tunesmith.errors import DataError

COUNT = 3
_LOOKED_AT = 1000  # rows of a dataset that a few are taken from
_TIMES = 10  # ... and for each row that is asked for
_NAMED = 8  # files that an error names
Entries = Sequence[tuple[Entry, bool]]


class Spread:
    """Rows from all over the beginning of each dataset, the same for the same seed.

    The beginning is cut into as many stretches as rows are wanted; each gives one.

    Args:
        entries: the datasets of the run, and whether they are held out.
        count: rows in all, shared out over the datasets; `None`: `COUNT`, and at least one each.
        seed: of the run.

    Attributes:
        entries: those that rows are taken from.
        picked: the rows so far, and whether they are held out.
    """

    def __init__(self, entries: Entries, count: int | None, *, seed: int) -> None:
        count = max(COUNT, len(entries)) if count is None else count
        shares = [(count + i) // len(entries) for i in range(len(entries))][::-1]
        self.entries = [one for one, share in zip(entries, shares, strict=True) if share]
        self.picked: list[tuple[Row | Skip, bool]] = []
        self.seed = seed
        self._wanted = zip([share for share in shares if share], self.entries, strict=True)
        self._told: list[str] = []

    def __call__(self, entry: Entry, found: Iterator[Row | Skip]) -> Iterator[Row | Skip]:
        """Those of the rows of the next dataset that are shown."""
        share, (_, held_out) = next(self._wanted)
        looked_at = list(islice(found, max(_LOOKED_AT, _TIMES * share)))
        ended = next(found, None) is None
        chosen = spread(len(looked_at), share, seed=self.seed)
        self._told.append(_said(entry, len(chosen), len(looked_at), ended=ended))
        for number in chosen:
            self.picked.append((looked_at[number], held_out))
            yield looked_at[number]

    def told(self) -> Iterator[str]:
        """Which rows these are."""
        yield from self._told


def spread(rows: int, count: int, *, seed: int) -> list[int]:
    """Numbers of rows, one from each of `count` equal stretches, ascending.

    Args:
        rows: how many there are.
        count: how many are wanted; all, where there are fewer.
        seed: any integer.
    """
    count = min(count, rows)
    borders = [i * rows // count for i in range(count + 1)] if count else []
    return [
        first + int(permutation(end - first, seed=seed, epoch=f"shown {first}")[0])
        for first, end in pairwise(borders)
    ]


def _said(entry: Entry, chosen: int, looked_at: int, *, ended: bool) -> str:
    if chosen == looked_at and ended:
        return f"{entry.name}: " + ("its only row" if chosen == 1 else f"all {counted(chosen)}")
    among = counted(looked_at) if ended else f"the first {counted(looked_at)}"
    return f"{entry.name}: {chosen:,} of {among}"


class Place(NamedTuple):
    """A place that somebody has named."""

    text: str
    """As it was typed."""
    entry: int
    """Which dataset of the run."""
    file: Path
    line: int


def found_in(entries: Entries, text: str) -> Place:
    """The place that `FILE:LINE` names; FILE is a path, its end, or the bare name of a file.

    Raises:
        DataError: not of this form; no file of the run, or several.
    """
    where = f"command line: --row {text}"
    there = [
        (number, file)
        for number, (entry, _) in enumerate(entries)
        for path in entry.paths
        for file in files(path)
    ]
    name, _, number = text.rpartition(":")
    if not name or not number.isascii() or not number.isdigit() or int(number) < 1:
        line = number if number.isascii() and number.isdigit() and int(number) else 1
        hint = f"--row {there[0][1]}:{line}" if there else ""
        need = "FILE:LINE, as in data/chats.jsonl:3021; lines count from 1"
        raise DataError(where, need=need, hint=hint)
    exact = [one for one in there if _same(one[1], Path(name))]
    fitting = exact or [one for one in there if _ends(one[1], Path(name))]
    several = list(dict.fromkeys(str(file) for _, file in fitting))
    if len(several) > 1:
        raise DataError(
            where, got=f"{len(several)} files of this run", need="one of them: " + _some(several)
        )
    if not fitting:
        names = list(dict.fromkeys(str(file) for _, file in there))
        bare = {Path(one).name: one for one in names}
        near = difflib.get_close_matches(Path(name).name, bare, n=1)
        raise DataError(
            where,
            got="no file of this run",
            need="one of its files: " + _some(names),
            hint=f"--row {bare[near[0]]}:{number}" if near else "",
        )
    return Place(text, *fitting[0], int(number))


def _same(file: Path, named: Path) -> bool:
    return file == named or os.path.realpath(file) == os.path.realpath(named)


def _ends(file: Path, named: Path) -> bool:
    return file.parts[-len(named.parts) :] == named.parts


def _some(names: Sequence[str]) -> str:
    more = f", … ({len(names):,} in all)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


class Places:
    """The rows at named places, read up to the last of them.

    Args:
        entries: the datasets of the run, and whether they are held out.
        places: where the rows stand; they are shown in the order of the files.
        count: the most rows of one line (a JSON array can stand on one); `None`: `COUNT`.

    Attributes:
        entries: those that rows are taken from, each with the file in question alone.
        picked: the rows so far, and whether they are held out.
        max_samples: of the run; rows beyond it are shown, and told.
    """

    def __init__(self, entries: Entries, places: Sequence[Place], *, count: int | None) -> None:
        self.count = COUNT if count is None else count
        self.max_samples: int | None = None
        self.picked: list[tuple[Row | Skip, bool]] = []
        self._by_file: dict[tuple[int, Path], dict[int, Place]] = {}
        for place in places:
            lines = self._by_file.setdefault((place.entry, place.file), {})
            lines.setdefault(place.line, place)
        self.entries = [_of_file(entries[number], file) for number, file in self._by_file]
        self._samples = {entry.name: entry.num_samples for entry, _ in entries}
        self._wanted = zip(self._by_file.values(), self.entries, strict=True)
        self._told: list[str] = []

    def __call__(self, entry: Entry, found: Iterator[Row | Skip]) -> Iterator[Row | Skip]:
        """Those of the rows of the next file that are shown.

        Raises:
            DataError: no row begins at one of the places.
        """
        lines, (_, held_out) = next(self._wanted)
        waiting, before, on_line = sorted(lines), None, 0
        for row in found:
            line = row.origin.line
            while waiting and on_line and line != waiting[0]:
                waiting, on_line = waiting[1:], 0
            if not waiting:
                return
            if line > waiting[0]:
                raise _no_row(lines[waiting[0]], before, line)
            before = line
            if line < waiting[0]:
                continue
            on_line += 1
            if on_line > self.count:
                self._more(row, waiting[0])
                if len(waiting) == 1:
                    return
                continue
            self._note(entry, row)
            self.picked.append((row, held_out))
            yield row
        waiting = waiting[1:] if on_line else waiting
        if waiting:
            raise _no_row(lines[waiting[0]], before, None)

    def told(self) -> Iterator[str]:
        """What should be known about these rows."""
        yield from dict.fromkeys(self._told)

    def _more(self, row: Row | Skip, line: int) -> None:
        file = row.origin.file
        self._told.append(
            f"{file}:{line}: more than {counted(self.count)} begin there; the first are shown, "
            "-n shows more"
        )

    def _note(self, entry: Entry, row: Row | Skip) -> None:
        number, sampled = row.origin.row, self._samples.get(entry.name)
        if self.max_samples is not None and number > self.max_samples:
            said = f"max_samples {self.max_samples:,}: this run does not read row {number:,}"
            self._told.append(f"{entry.name}: {said}")
        if sampled is not None:
            said = f"this run takes {sampled:,} samples; not every row is among them"
            self._told.append(f"{entry.name}: {said}")


def _of_file(entry: tuple[Entry, bool], file: Path) -> tuple[Entry, bool]:
    """The dataset as if it had one file; its layout is still that of all of them."""
    one, held_out = entry
    if one.formatting is None:
        one, _, _ = laid_out(one, chain.from_iterable(_all(one)))
    return one._replace(paths=(file,), num_samples=None), held_out


def _all(entry: Entry) -> Iterator[Iterable[Row | Skip]]:
    for path in entry.paths:
        for source in open_sources(path):
            yield rows(source, entry.name)


def _no_row(place: Place, before: int | None, after: int | None) -> DataError:
    near = [line for line in (before, after) if line is not None]
    begin = " and ".join(f"{line:,}" for line in near)
    nearest = min(near, key=lambda line: abs(line - place.line), default=None)
    return DataError(
        f"{place.file}:{place.line}",
        got="no row begins on this line",
        need=f"a line on which a row begins; the nearest: {begin}" if near else "a file with rows",
        hint="" if nearest is None else f"--row {place.file}:{nearest}",
    )
