"""Examples on disk: flat arrays mapped into memory, so that any number of them opens at once.

    ids.bin       token ids, (T,) int32, all examples end to end
    trained.bin   whether a token is learned, (T,) one byte each
    examples.bin  one `RECORD` for each example, (N,)
    digests.bin   what each example teaches, hashed, (N,) `DIGEST`
    lengths.bin   one `LENGTH` for each length, ascending, (K,)
    media.bin     media of all examples, end to end, as `media.kept` writes them
    ends.bin      where each of them ends in it, (M,) int64
    copies.bin    numbers of the examples that are not alone in what they teach, each with the
                  number of the first of its kind, (C, 2) int64

Numbers are little-endian. Who may write it and when it is whole: `prepare.py` and `store`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from tunesmith.data.media.kept import from_bytes, identity, look, to_bytes
from tunesmith.types import Example, Media, Origin

RECORD = np.dtype(
    [
        ("end", "<i8"),  # tokens up to and including this example
        ("trained", "<i4"),  # tokens of it that are learned
        ("largest", "<i4"),  # id
        ("source", "<i4"),  # which (dataset, file)
        ("line", "<i8"),
        ("number", "<i8"),  # of the row in its file, from 1
        ("row", "<i8"),  # of the rows that became examples, from 0
        ("turns", "<i4"),  # answers of that row, before anything was cut
        ("held_out", "?"),
        ("media", "<i8"),  # media up to and including this example
    ]
)
DIGEST = np.dtype("V16")
LENGTH = np.dtype([("tokens", "<i8"), ("whole", "<i8"), ("needed", "<i8")])
"""`Counts` of one length."""
_EQUAL = np.dtype("<i8")
_FLUSHED = 1 << 20  # tokens


class Counts(NamedTuple):
    """How many texts have which length, those included that are left out for it."""

    whole: Counter[int]
    """Tokens before anything is cut -> texts."""
    needed: Counter[int]
    """The smallest cutoff that keeps the answers -> texts."""


class Writer:
    """Appends examples to the files of a directory; memory does not grow with their number.

    A context manager, so that the files are closed whatever happens.

    Args:
        directory: is there, and empty.

    Attributes:
        sources: dataset and file of the rows so far, in the order in which they came.
        counts: lengths of the texts so far; whoever makes the examples counts them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = [(directory / name).open("wb") for name in _NAMES]
        self.sources: dict[tuple[str, str], int] = {}
        self.counts = Counts(Counter(), Counter())
        self.count = 0
        self._end = self._row = self._media = self._media_end = 0
        self._waiting: list[Example] = []
        self._records: list[tuple[object, ...]] = []
        self._digests: list[bytes] = []
        self._flushed = 0

    def add(self, examples: Sequence[Example], *, held_out: bool, turns: int = 1) -> None:
        """All examples of one row, and how many answers it has."""
        for example in examples:
            ids, trained, origin, media = example
            source = self.sources.setdefault((origin.dataset, origin.file), len(self.sources))
            self._end += len(ids)
            counts = int(trained.sum()), int(ids.max())
            place = source, origin.line, origin.row, self._row
            self._media += len(media)
            self._records.append((self._end, *counts, *place, turns, held_out, self._media))
            self._digests.append(digest(example))
            self._waiting.append(example)
            self.count += 1
        self._row += 1
        if self._end - self._flushed >= _FLUSHED:
            self._flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for file in self._files:
            file.close()

    def finish(self) -> None:
        """Everything is in the files."""
        self._flush()
        for file in self._files:
            file.close()
        whole, needed = self.counts
        lengths = [(n, whole[n], needed[n]) for n in sorted(whole.keys() | needed.keys())]
        np.array(lengths, LENGTH).tofile(self._directory / "lengths.bin")
        equal = _equal(_mapped(self._directory / "digests.bin", DIGEST))
        equal.tofile(self._directory / "copies.bin")

    def _flush(self) -> None:
        ids, trained, records, digests, media, ends = self._files
        if self._waiting:
            stored = [to_bytes(medium) for e in self._waiting for medium in e.media]
            media.write(b"".join(stored))
            places = self._media_end + np.cumsum([len(one) for one in stored], dtype=np.int64)
            ends.write(places.astype("<i8").tobytes())
            self._media_end = int(places[-1]) if stored else self._media_end
            ids.write(np.concatenate([e.ids for e in self._waiting]).astype("<i4").tobytes())
            trained.write(np.concatenate([e.trained for e in self._waiting]).tobytes())
            records.write(np.array(self._records, RECORD).tobytes())
            digests.write(b"".join(self._digests))
        for part in (self._waiting, self._records, self._digests):
            part.clear()
        self._flushed = self._end


class Arrays(NamedTuple):
    """The files of a store, mapped."""

    ids: np.ndarray
    trained: np.ndarray
    records: np.ndarray
    digests: np.ndarray
    lengths: np.ndarray
    copies: np.ndarray
    media: np.ndarray
    ends: np.ndarray
    """Of each medium in `media`."""


class Examples(Sequence[Example]):
    """Examples of a store, in any order; each is read when it is asked for.

    Args:
        arrays: of the store.
        sources: (dataset, file) that records point to.
        chosen: numbers of the examples, (N,) int; `None`: all, in order.
        rows: which row each of them is part of, (N,) int; `None`: as the store says.
    """

    def __init__(
        self,
        arrays: Arrays,
        sources: Sequence[tuple[str, str]],
        chosen: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self._arrays, self._sources, self._rows = arrays, sources, rows
        self._chosen = np.arange(len(arrays.records)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self._example(int(number)) for number in self._chosen[index]]
        return self._example(int(self._chosen[index]))

    def __iter__(self) -> Iterator[Example]:
        for number in self._chosen:
            yield self._example(int(number))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, (N,) int64."""
        whole = np.diff(self._arrays.records["end"], prepend=0)
        return whole[self._chosen]

    @property
    def asked(self) -> np.ndarray:
        """Lengths of all texts of the store before anything was cut, (K,) `LENGTH`."""
        return self._arrays.lengths

    @property
    def num_trained(self) -> np.ndarray:
        """Learned tokens of each example, (N,) int32."""
        return self.records("trained")

    @property
    def num_media(self) -> np.ndarray:
        """Media of each example, (N,) int64."""
        return np.diff(self._arrays.records["media"], prepend=0)[self._chosen]

    def records(self, name: str) -> np.ndarray:
        """A field of `RECORD` for each example, (N,)."""
        if name == "row" and self._rows is not None:
            return self._rows
        return self._arrays.records[name][self._chosen]

    def digests(self, start: int, end: int) -> np.ndarray:
        """What the examples from `start` to `end` teach, hashed, (n,) `DIGEST`."""
        return self._arrays.digests[self._chosen[start:end]]

    def repeated(self) -> np.ndarray:
        """Index of each example that is not alone in the store, and the number of its kind.

        For examples in the order of the store, each of them once. Ascending, (C, 2) int64.
        """
        assert (np.diff(self._chosen) > 0).all(), "one pointed to twice is no copy"
        numbers, kinds = self._arrays.copies.T
        places = np.searchsorted(self._chosen, numbers)
        there = places < len(self._chosen)
        there[there] = self._chosen[places[there]] == numbers[there]
        return np.stack([places[there], kinds[there]], axis=1)

    def look(self) -> str:
        """What tells whether the files of all media are those that were counted; see `kept`."""
        bytes_, ends = self._arrays.media, self._arrays.ends.tolist()
        return look(bytes_[a:b].tobytes() for a, b in pairwise([0, *ends]))

    def media(self, index: int) -> tuple[Media, ...]:
        """Media of an example; nothing else of it is read."""
        return self._media(int(self._chosen[index]))

    def origin(self, index: int) -> Origin:
        """Where the row of an example stands."""
        return self._origin(int(self._chosen[index]))

    def datasets(self) -> dict[str, int]:
        """Examples of each dataset, in the order in which they came."""
        counts = Counter[str]()
        for source, count in zip(
            *np.unique(self.records("source"), return_counts=True), strict=True
        ):
            counts[self._sources[int(source)][0]] += int(count)
        return dict(counts)

    def owners(self, datasets: Sequence[str]) -> np.ndarray:
        """Where the dataset of each example stands among `datasets`, (N,) int32; -1: nowhere."""
        places = {dataset: place for place, dataset in enumerate(datasets)}
        of_sources = [places.get(dataset, -1) for dataset, _ in self._sources]
        return np.array(of_sources, np.int32)[self.records("source")]

    def take(self, indices: np.ndarray) -> Examples:
        """These examples in this order, (N,) int; one may come several times."""
        return self._of(indices)

    def standing(self, indices: np.ndarray, *, rows: np.ndarray) -> Examples:
        """Like `take`, of examples that stand for other rows than their own, (N,) int."""
        return Examples(self._arrays, self._sources, self._chosen[indices], rows)

    def distinct(self) -> Examples:
        """Each of these examples once, in the order of the store."""
        if (np.diff(self._chosen) > 0).all():
            return self
        there = np.zeros(len(self._arrays.records), bool)
        there[self._chosen] = True  # sorting millions of numbers takes ten times as long
        return Examples(self._arrays, self._sources, np.flatnonzero(there))

    def choose(self, mask: np.ndarray) -> Examples:
        """Those of these examples where the mask is true, (N,) bool."""
        return self._of(mask)

    def _of(self, which: np.ndarray) -> Examples:
        rows = None if self._rows is None else self._rows[which]
        return Examples(self._arrays, self._sources, self._chosen[which], rows)

    def _example(self, number: int) -> Example:
        ids, trained, records, *_ = self._arrays
        start = int(records["end"][number - 1]) if number else 0
        part = slice(start, int(records["end"][number]))
        media = self._media(number)
        return Example(
            np.asarray(ids[part]), np.asarray(trained[part]), self._origin(number), media
        )

    def _media(self, number: int) -> tuple[Media, ...]:
        arrays = self._arrays
        if not len(arrays.ends):
            return ()
        first = int(arrays.records["media"][number - 1]) if number else 0
        ends = arrays.ends[max(first - 1, 0) : int(arrays.records["media"][number])].tolist()
        ends = ends if first else [0, *ends]
        return tuple(from_bytes(arrays.media[a:b].tobytes()) for a, b in pairwise(ends))

    def _origin(self, number: int) -> Origin:
        record = self._arrays.records[number]
        dataset, file = self._sources[record["source"]]
        return Origin(dataset, file, int(record["line"]), int(record["number"]))


def read(directory: Path, sources: Sequence[tuple[str, str]]) -> Examples:
    """The examples of a directory that a `Writer` has filled.

    Args:
        directory: with the files.
        sources: those of the writer.
    """
    kinds = (np.dtype("<i4"), np.dtype("?"), RECORD, DIGEST, np.dtype("u1"), np.dtype("<i8"))
    ids, trained, records, digests, media, ends = (
        _mapped(directory / name, kind) for name, kind in zip(_NAMES, kinds, strict=True)
    )
    equal = _mapped(directory / "copies.bin", _EQUAL).reshape(-1, 2)
    lengths = _mapped(directory / "lengths.bin", LENGTH)
    return Examples(Arrays(ids, trained, records, digests, lengths, equal, media, ends), sources)


_NAMES = ("ids.bin", "trained.bin", "examples.bin", "digests.bin", "media.bin", "ends.bin")


def _mapped(path: Path, kind: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.zeros(0, kind)  # nothing cannot be mapped
    return np.memmap(path, kind, mode="r")


def _equal(digests: np.ndarray) -> np.ndarray:
    """Numbers of equal digests, each with the first of its kind, ascending, (C, 2) int64."""
    low, high = digests.view("<u8").reshape(-1, 2).T
    order = np.lexsort((low, high))  # stable: equal ones stay in their order
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    first = order[np.flatnonzero(new)][np.cumsum(new) - 1] if len(order) else order
    alone = np.bincount(first, minlength=len(order))[first] == 1
    pairs = np.stack([order[~alone], first[~alone]], axis=1)
    return pairs[np.argsort(pairs[:, 0])].astype(_EQUAL)


def digest(example: Example) -> bytes:
    """sha256 of what is learned: the ids and which of them, and the media among them."""
    whole = hashlib.sha256(len(example.ids).to_bytes(8, "little"))
    whole.update(np.ascontiguousarray(example.ids, dtype="<i4").tobytes())
    whole.update(np.packbits(example.trained).tobytes())
    for medium in example.media:
        whole.update(identity(medium))
    return whole.digest()[:16]
