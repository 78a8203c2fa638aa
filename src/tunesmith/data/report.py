"""What became of the rows of a run: the whole account, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.data.ledger import OVER_CUTOFF, Account, Ledger, Skips, counted
from tunesmith.data.prepare import Prepared
from tunesmith.data.survey import Survey
from tunesmith.errors import DataError, Error

_SHOWN_PLACES = 3


def as_dict(data: Prepared) -> dict[str, Any]:
    """One JSON value; `stops` says whether a run stops at these rows."""
    examples = {"train": len(data.train), "held_out": len(data.eval)}
    return _as_dict(data.ledger, data.refusal, examples)


def survey_as_dict(found: Survey) -> dict[str, Any]:
    """The same of rows that are not for this stage: no examples are made of them."""
    return _as_dict(found.ledger, found.unfit[0], {"train": 0, "held_out": 0})


def _as_dict(ledger: Ledger, error: Error | None, examples: dict[str, int]) -> dict[str, Any]:
    accounts, told = ledger.files.values(), ledger.as_dict()
    return {
        "stops": error is not None,
        "read": ledger.num_read,
        "used": sum(account.used for account in accounts),
        "skipped": sum(account.num_skipped for account in accounts),
        "bad": ledger.bad,
        "examples": examples,
        "files": told["files"],
        "findings": told["findings"],
        "notes": told["notes"],
        "error": error.as_dict() if error else None,
    }


def text(data: Prepared, *, width: int | None = None) -> str:
    """The account in lines, wrapped to `width` columns."""
    so = "left out, as on_bad_row: skip says" if data.refusal is None else "a run stops at them"
    lines = [
        *_account(data.ledger, so),
        "",
        f"examples  {len(data.train):,} to train on, {len(data.eval):,} held out",
    ]
    return "\n".join(_wrapped(line, width) for line in lines)


def survey_text(found: Survey, *, width: int | None = None) -> str:
    """The account of rows that are not for this stage."""
    lines = _account(found.ledger, "a run would stop at them")
    return "\n".join(_wrapped(line, width) for line in lines)


def _account(ledger: Ledger, so: str) -> Iterator[str]:
    skips = ledger.skips()
    bad = {reason: found for reason, found in skips.items() if reason != OVER_CUTOFF}
    left_out = {reason: found for reason, found in skips.items() if reason == OVER_CUTOFF}
    yield from _files(ledger.files)
    yield from _reasons(f"bad rows: {ledger.bad:,}, {so}", bad)
    yield from _reasons("left out, and a run goes on", left_out)
    yield from ["", "notes"] if ledger.notes else []
    yield from (f"  - {note}" for note in ledger.notes)


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


def _wrapped(line: str, width: int | None) -> str:
    if width is None or len(line) <= width:
        return line
    head = line[: len(line) - len(line.lstrip(" -"))]
    return textwrap.fill(
        line.removeprefix(head), max(width, 40),
        initial_indent=head, subsequent_indent=" " * len(head) if "-" in head else f"{head}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
