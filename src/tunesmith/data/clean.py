"""The rows of a run as files of their own: those that it uses, and those that it does not.

Of a JSON file the kept rows are its own text, byte for byte; only line breaks between the parts
of a row are taken out, because a line of the new file is a row. Rows of csv, tsv and txt files
become JSON, their values being text; parquet and arrow files stay what they are.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tunesmith import store
from tunesmith.data.convert import laid_out
from tunesmith.data.entry import Entry
from tunesmith.data.ledger import BadRows, Ledger, Skip
from tunesmith.data.prepare import Prepared, refuse_changed
from tunesmith.data.reader import Reader
from tunesmith.data.registry import FILE_NAME
from tunesmith.data.rows import Row, open_sources
from tunesmith.data.sources import columnar
from tunesmith.data.sources.folder import natural
from tunesmith.data.sources.source import PACKINGS, Source
from tunesmith.errors import OutputError

REJECTED = "rejected.jsonl"
_TABLES = ("parquet", "arrow")
_BREAK = re.compile(r"(,?)[ \t]*[\r\n][ \t\r\n]*")


class Kept(NamedTuple):
    """What became of the rows of one file."""

    file: str
    kept: int
    rejected: int
    path: str
    """Where the kept ones are, below the new directory; there is no such file without them."""


class Cleaned(NamedTuple):
    """What was written."""

    files: tuple[Kept, ...]
    datasets: tuple[str, ...]
    """Training datasets of which rows are left; those are in the new registry."""
    eval_datasets: tuple[str, ...]
    notes: tuple[str, ...]


def clean(
    data: Prepared, output: Path, *, max_samples: int | None = None, seed: int = 42
) -> Cleaned:
    """Write what a run reads: rows that it uses, rows that it does not, and a registry of them.

    A run with the new directory as `dataset_dir` learns what this one learns with
    `on_bad_row: skip`, and meets no bad row. Every row that was read is kept or rejected.

    Args:
        data: read as a `whole`.
        output: a new directory, or an empty one.
        max_samples: of the run.
        seed: of the run.

    Raises:
        OutputError: there is something already.
        DataError: no row can be used, or somebody writes to the files meanwhile.
        StoreError: the disk is full or fails.
    """
    refuse_full(output)
    evaluates = any(held_out for _, held_out in data.entries)
    left = len(data.train) and (len(data.eval) or not evaluates)
    if data.refusal and not (isinstance(data.refusal, BadRows) and left):
        raise data.refusal
    entries = [entry for entry, _ in data.entries]
    _refuse_within(output, entries)
    ledger, facts = data.ledger, {"read": data.ledger.num_read}
    with store.publish(output, facts=facts) as folder:
        with (folder / REJECTED).open("w", encoding="utf8", newline="") as rejected:
            sorter = _Sorter(folder, rejected, ledger, max_samples=max_samples, seed=seed)
            registry = {entry.name: sorter.sort(entry) for entry in entries}
        written = [sum(column) for column in zip(*sorter.counts, strict=True)]
        refuse_changed(entries, data.source)
        kept = ledger.num_read - ledger.num_skipped
        assert written == [kept, ledger.num_skipped], "other rows than those of the run"
        registry = {name: said for name, said in registry.items() if said}
        text = json.dumps(registry, ensure_ascii=False, indent=2)
        (folder / FILE_NAME).write_text(f"{text}\n", encoding="utf8")
    names = [
        tuple(entry.name for entry, of in data.entries if of is side and entry.name in registry)
        for side in (False, True)
    ]
    return Cleaned(tuple(sorter.files), *names, notes=tuple(sorter.notes))


def refuse_full(output: Path) -> None:
    """Nobody's files are mixed with ours.

    Raises:
        OutputError: there is something in the directory, or it is none.
    """
    folder = os.path.isdir(output)
    if os.path.lexists(output) and not (folder and not os.listdir(output)):
        found = "a directory with something in it" if folder else "a file"
        hint = f"--output {_free(output)}"
        raise OutputError(
            str(output), got=found, need="a new directory, or an empty one", hint=hint
        )


def _free(output: Path) -> Path:
    """A name like this one that nothing has."""
    named = output if output.name else output.resolve()
    names = (named.with_name(f"{named.name}-{number}") for number in itertools.count(2))
    return next(name for name in names if not os.path.lexists(name))


def _refuse_within(output: Path, entries: Sequence[Entry]) -> None:
    """A folder of rows with another in it is refused as a dataset; ours would spoil it."""
    for path in (path for entry in entries for path in entry.paths):
        if os.path.isdir(path) and output.resolve().is_relative_to(path.resolve()):
            need = f"a directory outside of the dataset {path}"
            raise OutputError(str(output), got="a directory in a folder of rows", need=need)


class _Sorter:
    """Sorts the rows of datasets into the files of a directory."""

    def __init__(
        self, folder: Path, rejected: TextIO, ledger: Ledger, *, max_samples: int | None, seed: int
    ) -> None:
        self.folder, self.rejected, self.wanted = folder, rejected, ledger.wanted
        self.max_samples, self.seed = max_samples, seed
        self.files: list[Kept] = []
        self.notes: list[str] = []
        self._names = {FILE_NAME, REJECTED, store.MANIFEST}
        self._skipped: dict[tuple[str, str], dict[int, bytes]] = {}
        for line in ledger.told:
            dataset, file, _, row = json.loads(line)["origin"]
            self._skipped.setdefault((dataset, file), {})[row] = line

    @property
    def counts(self) -> list[tuple[int, int]]:
        """Rows of each file that were kept, and that were rejected."""
        return [(one.kept, one.rejected) for one in self.files]

    def sort(self, entry: Entry) -> dict[str, Any] | None:
        """Write the rows of a dataset; its new entry, `None` where no row is left."""
        sources = [source for path in entry.paths for source in open_sources(path)]
        folder, names = self._places(entry, sources)
        reader = Reader(Ledger(), None, max_samples=self.max_samples, seed=self.seed)
        laid, rows, _ = laid_out(entry, reader.chosen(entry))
        place = {source.file: (source, name) for source, name in zip(sources, names, strict=True)}
        read, kept = 0, 0
        for file, group in groupby(islice(rows, self.max_samples), lambda row: row.origin.file):
            source, name = place[file]
            path = (Path(folder) / name).as_posix()
            found = self._file(entry, group, _Output(source, self.folder / path))
            self.files.append(Kept(file, *found, path))
            read, kept = read + sum(found), kept + found[0]
        self._tell(entry, read)
        if not kept:
            return None
        return described(laid, folder or names[0], num_samples=self.wanted.get(entry.name))

    def _file(self, entry: Entry, rows: Iterable[Row | Skip], output: _Output) -> tuple[int, int]:
        """Sort the rows of one file; how many were kept, and how many rejected."""
        skipped = self._skipped.get((entry.name, output.source.file), {})
        kept = lost = 0
        with output:
            for row in rows:
                line = skipped.get(row.origin.row)
                if line is None and isinstance(row, Row):
                    kept += 1
                    output.add(row)
                    continue
                lost += 1
                skip = Skip.again(json.loads(line)) if line is not None else row
                assert isinstance(skip, Skip), "a row is kept, or there is a reason"
                self.rejected.write(rejected(row, skip))
        return kept, lost

    def _tell(self, entry: Entry, read: int) -> None:
        """Rows that the run does not read are neither kept nor rejected."""
        if entry.num_samples == read:
            self.notes.append(f"{entry.name}: the {read:,} rows of its sample (num_samples)")
        elif self.max_samples == read:
            self.notes.append(f"{entry.name}: the first {read:,} rows (max_samples)")

    def _places(self, entry: Entry, sources: Sequence[Source]) -> tuple[str, list[str]]:
        """A folder of the new directory, "" where one file needs none, and names in it."""
        names = [_renamed(source) for source in sources]
        if len(sources) == 1:
            return "", [self._free(names[0])]
        if names != sorted(set(names), key=natural):
            width = len(str(len(names)))
            names = [f"{number:0{width}}-{name}" for number, name in enumerate(names, 1)]
        return self._free(
            _stem(Path(entry.paths[0] if len(entry.paths) == 1 else entry.name))
        ), names

    def _free(self, name: str) -> str:
        """The name, or one like it that nothing else has."""
        stem, end = os.path.splitext(name)
        number, found = 1, name
        while found in self._names:
            number += 1
            found = f"{stem}-{number}{end}"
        self._names.add(found)
        return found


class _Output:
    """A file of kept rows; without rows there is none."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source, self.path = source, path
        self.table = source.layout in _TABLES
        self._numbers = array("q")
        self._file: TextIO | None = None

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None and self._numbers:
            self.path.parent.mkdir(exist_ok=True)
            columnar.write(self.source, self._numbers, self.path)

    def add(self, row: Row) -> None:
        """One more row."""
        if self.table:
            self._numbers.append(row.origin.row)
            return
        if self._file is None:
            self.path.parent.mkdir(exist_ok=True)
            self._file = self.path.open("w", encoding="utf8", newline="")
        self._file.write(f"{one_line(row)}\n")


def one_line(row: Row) -> str:
    """A row as a line of JSON: its own text, without the line breaks between its parts."""
    if row.text is None:
        return json.dumps(row.values, ensure_ascii=False, default=str)
    return _BREAK.sub(lambda found: ", " if found[1] else "", row.text)


def rejected(row: Row | Skip, skip: Skip) -> str:
    """The line of a row that is not used: why, where, and the row itself.

    The row is an object where it could be read; else it is text, as it stands in the file.
    """
    said = skip.as_dict()
    place = {"file": skip.origin.file, "line": skip.origin.line, "field": skip.field}
    facts = {"reason": skip.reason, **place, "got": said["got"], "need": skip.need}
    facts |= {"hint": skip.hint} if skip.hint else {}
    text = one_line(row) if isinstance(row, Row) else json.dumps(row.text, ensure_ascii=False)
    return f'{json.dumps(facts, ensure_ascii=False)[:-1]}, "row": {text}}}\n'


def described(entry: Entry, file_name: str, *, num_samples: int | None = None) -> dict[str, Any]:
    """An entry of the registry that reads a file as another entry has read its own.

    Args:
        entry: with its layout (`laid_out`).
        file_name: file or folder, relative to the registry.
        num_samples: how often rows are repeated.
    """
    said: dict[str, Any] = {"file_name": file_name, "formatting": entry.formatting}
    if entry.ranking:
        said["ranking"] = True
    if entry.explicit_columns:
        said["columns"] = _named(entry.columns._asdict())
    if entry.explicit_tags and entry.formatting in ("sharegpt", "openai"):
        said["tags"] = _named(entry.tags._asdict())
    if entry.fill:
        said["fill"] = dict(entry.fill)
    if num_samples is not None:
        said["num_samples"] = num_samples
    return said


def _named(names: Mapping[str, str | None]) -> dict[str, str]:
    return {key: name for key, name in names.items() if name is not None}


def _renamed(source: Source) -> str:
    end = source.layout if source.layout in _TABLES else "jsonl"
    return f"{_stem(source.path)}.{end}"


def _stem(path: Path) -> str:
    """The name without the ends that say the type."""
    name = path.name
    if path.suffix.lower() in PACKINGS:
        name = Path(name).stem
    return Path(name).stem or "rows"
