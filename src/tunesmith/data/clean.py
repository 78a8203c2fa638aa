"""The rows of a run as files of their own: those that it uses, and those that it does not.

Of a JSON file the kept rows are its own text, byte for byte; only line breaks between the parts
of a row are taken out, because a line of the new file is a row. Rows of csv, tsv and txt files
become JSON, their values being text; parquet and arrow files stay what they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
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
from tunesmith.data.sources.folder import in_order
from tunesmith.data.sources.source import Source, by_name
from tunesmith.errors import OutputError

REJECTED = "rejected.jsonl"
_TABLES = ("parquet", "arrow")
_BREAK = re.compile(r"(,?)[ \t]*[\r\n][ \t\r\n]*")


class Kept(NamedTuple):
    """What became of the rows of one file."""

    dataset: str
    file: str
    name: str
    """Of the file with the kept rows, below the new directory."""
    kept: int
    rejected: int


class Cleaned(NamedTuple):
    """What was written."""

    files: tuple[Kept, ...]
    train: tuple[str, ...]
    """Training datasets of which rows are left."""
    held_out: tuple[str, ...]
    """The same of the others."""
    notes: tuple[str, ...]


def clean(
    data: Prepared, output: Path, *, max_samples: int | None = None, seed: int = 42
) -> Cleaned:
    """Write what a run reads: rows that it uses, rows that it does not, and a registry of them.

    A run with the new directory as `dataset_dir` learns what this one learns with
    `on_bad_row: skip`, and has no bad rows. All rows read are kept or rejected.

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
    if data.refusal and not (isinstance(data.refusal, BadRows) and len(data.train)):
        raise data.refusal
    ledger = data.ledger
    facts = {"read": ledger.num_read, "used": ledger.num_read - ledger.num_skipped}
    with store.publish(output, facts=facts) as folder, _Writing(folder, ledger) as writing:
        entries = [
            (one, held_out, writing.dataset(one, max_samples=max_samples, seed=seed))
            for one, held_out in data.entries
        ]
        writing.end()
        refuse_changed([entry for entry, _ in data.entries], data.source)
        registry = {entry.name: said for entry, _, said in entries if said}
        text = json.dumps(registry, ensure_ascii=False, indent=2)
        (folder / FILE_NAME).write_text(f"{text}\n", encoding="utf8")
    train, held_out = (
        tuple(entry.name for entry, held, said in entries if said and held is side)
        for side in (False, True)
    )
    return Cleaned(tuple(writing.files), train, held_out, tuple(writing.notes))


def refuse_full(output: Path) -> None:
    """Nobody's files are mixed with ours.

    Raises:
        OutputError: the directory has something in it, or is none.
    """
    there = os.path.lexists(output)
    if there and not (os.path.isdir(output) and not os.listdir(output)):
        found = "a directory with files in it" if os.path.isdir(output) else "a file"
        raise OutputError(str(output), got=found, need="a new directory, or an empty one")


class _Writing:
    """Sorts the rows of datasets into the files of a directory."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.ledger = folder, ledger
        self.files: list[Kept] = []
        self.notes: list[str] = []
        self.skipped: dict[tuple[str, str], dict[int, Skip]] = {}
        self._names: set[str] = set()

    def __enter__(self) -> _Writing:
        self.rejected = (self.folder / REJECTED).open("w", encoding="utf8", newline="")
        for skip in self.ledger.every_skip():
            where = skip.origin.dataset, skip.origin.file
            self.skipped.setdefault(where, {})[skip.origin.row] = skip
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.rejected.close()

    def end(self) -> None:
        """All rows are written; every one that was read is in one of the files."""
        self.rejected.close()
        written = sum(one.kept + one.rejected for one in self.files)
        assert written == self.ledger.num_read, "other rows than those of the run"
        lost = sum(one.rejected for one in self.files) - self.ledger.num_skipped
        assert not lost, "rows are rejected where the run uses them"

    def dataset(self, entry: Entry, *, max_samples: int | None, seed: int) -> dict[str, Any] | None:
        """Write the rows of a dataset; its new entry, `None` where no row of it is left."""
        sources = [source for path in entry.paths for source in open_sources(path)]
        names = dict(zip((s.file for s in sources), self._named(entry, sources), strict=True))
        reader = Reader(Ledger(), None, max_samples=max_samples, seed=seed)
        laid, rows, _ = laid_out(entry, reader.chosen(entry))
        counts = {source.file: [0, 0] for source in sources}
        with ExitStack() as opened:
            outputs: dict[str, _Output] = {}
            for row in islice(rows, max_samples):
                file = row.origin.file
                skip = self.skipped.get((entry.name, file), {}).get(row.origin.row)
                counts[file][skip is not None] += 1
                if skip is not None:
                    self.rejected.write(_rejected(row, skip))
                    continue
                assert isinstance(row, Row), "the run has used it"
                if file not in outputs:
                    source = next(source for source in sources if source.file == file)
                    output = _Output(source, self.folder / names[file])
                    outputs[file] = opened.enter_context(output)
                outputs[file].add(row)
        self.files += [
            Kept(entry.name, file, names[file], *counts[file])
            for file in names
            if any(counts[file])
        ]
        self._tell(entry, sum(map(sum, counts.values())), max_samples)
        if not outputs:
            return None
        path = next(iter(names.values())) if len(sources) == 1 else names_folder(names)
        return described(laid, path, num_samples=reader.wants_more(entry, counts))

    def _tell(self, entry: Entry, read: int, max_samples: int | None) -> None:
        if max_samples == read:
            what = f"max_samples: {max_samples}: the first {read:,} rows of each dataset are here"
            if what not in self.notes:
                self.notes.append(what)
        if entry.num_samples == read:
            self.notes.append(f"{entry.name}: its sample is here, {read:,} rows (num_samples)")
