"""What became of the rows of a run: the whole account, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.data.ledger import OVER_CUTOFF, Account, Ledger, Skips, counted
from tunesmith.data.mix import Part
from tunesmith.data.prepare import Prepared
from tunesmith.errors import DataError

_SHOWN_PLACES = 3


class Outcome(NamedTuple):
    """What is told."""

    ledger: Ledger
    refusal: DataError | None
    """Why a run stops at these rows."""
    train: int = 0
    held_out: int = 0
    """Examples, where there are any."""
    mix: tuple[Part, ...] = ()
    """What an epoch takes of each training dataset."""
    mix_table: tuple[str, ...] = ()
    """The same in lines."""

    @classmethod
    def of(cls, data: Prepared) -> Outcome:
        """Of rows that a run would learn, read as a whole."""
        sizes = len(data.train), len(data.eval)
        return cls(data.ledger, data.refusal, *sizes, data.mix, data.mix_table)


def as_dict(data: Outcome) -> dict[str, Any]:
    """One JSON value; `stops` says whether a run stops at these rows."""
    ledger = data.ledger.as_dict()
    return {
        "stops": data.refusal is not None,
        "read": data.ledger.num_read,
        "used": data.ledger.num_read - data.ledger.num_skipped,
        "skipped": data.ledger.num_skipped,
        "bad": data.ledger.bad,
        "mix": [part.as_dict() for part in data.mix],
        "reasons": {reason: found.count for reason, found in data.ledger.skips().items()},
        "examples": {"train": data.train, "held_out": data.held_out},
        "files": ledger["files"],
        "findings": ledger["findings"],
        "notes": ledger["notes"],
        "error": data.refusal.as_dict() if data.refusal else None,
    }


def text(data: Outcome, *, width: int | None = None) -> str:
    """The account in lines, wrapped to `width` columns."""
    skips = data.ledger.skips()
    bad = {reason: found for reason, found in skips.items() if reason != OVER_CUTOFF}
    left_out = {reason: found for reason, found in skips.items() if reason == OVER_CUTOFF}
    so = "left out, as on_bad_row: skip says" if data.refusal is None else "a run stops at them"
    lines = [
        *_files(data.ledger.files),
        *_reasons(f"bad rows: {data.ledger.bad:,}, {so}", bad),
        *_reasons("left out, and a run goes on", left_out),
        *(["", "notes"] if data.ledger.notes else []),
        *(f"  - {note}" for note in data.ledger.notes),
        *(["", *data.mix_table] if data.mix_table else []),
        "",
        f"examples  {data.train:,} to train on, {data.held_out:,} held out",
    ]
    return "\n".join(_wrapped(line, width) for line in lines)


def _files(files: Mapping[str, Account]) -> list[str]:
    """One line for each file, numbers below one another."""
    rows = [
        (file, counted(one.read), f"{one.used:,}", f"{one.num_skipped:,}")
        for file, one in files.items()
    ]
    name, read, used, skipped = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        f"{a:<{name}}  {b:>{read}} read = {c:>{used}} used + {d:>{skipped}} skipped"
        for a, b, c, d in rows
    ]


def _reasons(head: str, skips: Mapping[str, Skips]) -> Iterator[str]:
    """How many rows each reason takes, and where the first of them stand."""
    if not skips:
        return
    yield from ("", head)
    width = max(map(len, skips))
    count = max(len(f"{found.count:,}") for found in skips.values())
    for reason, found in skips.items():
        yield f"  {reason:<{width}}  {found.count:>{count},}"
        for skip in found.first[:_SHOWN_PLACES]:
            got = DataError(skip.place, got=skip.got).as_dict()["got"]
            yield f"    {skip.place}: got {got}, need {skip.need}"
        if found.count > _SHOWN_PLACES:
            yield f"    and {found.count - _SHOWN_PLACES:,} more"
        if found.first and found.first[0].hint:
            yield f"    try {found.first[0].hint}"


def _wrapped(line: str, width: int | None) -> str:
    if width is None or len(line) <= width:
        return line
    head = line[: len(line) - len(line.lstrip(" -"))]
    return textwrap.fill(
        line.removeprefix(head), max(width, 40),
        initial_indent=head, subsequent_indent=" " * len(head) if "-" in head else f"{head}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
