"""The row ledger: read = used + skipped(reason, place), per file; it closes or it raises.

A row that cannot be used is a `RowError`; all of them are collected and told in one error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TextIO

from tunesmith.errors import DataError
from tunesmith.types import Origin

OVER_CUTOFF = "over_cutoff"
_SHOWN_PLACES = 3
_KEPT = 100  # places of one reason and file that memory keeps


class RowError(DataError):
    """One row that cannot be used; `where` is the field, until it stands in a `Skip`.

    `reason` is the kind of fault in a few words, the same for all rows with that fault.
    """

    reason = "bad row"

    @classmethod
    def of(
        cls, reason: str, field: str, *, got: object = None, need: str = "", hint: str = ""
    ) -> RowError:
        """A fault of one kind in one field."""
        error = cls(field, got=got, need=need, hint=hint)
        error.reason = reason
        return error


class BadRows(DataError):
    """Rows that stop a run; what to try ends with how to go on without them."""

    others = ""
    """`the other 3 rows`; "" where all are bad."""
    advice: tuple[str, ...] = ()
    """What would mend the rows themselves."""

    @classmethod
    def of(
        cls, where: str, *, got: object, need: str, advice: tuple[str, ...], others: str
    ) -> BadRows:
        """The error as it is told where no command was typed."""
        error = cls(where, got=got, need=need)
        error.advice, error.others = advice, others
        error._try(f"on_bad_row=skip on the command line goes on with {others}")
        return error

    def typed(self, go_on: str, clean: str) -> None:
        """Tell how to go on in commands: the last line is the whole one that does.

        Args:
            go_on: the command that failed, as it leaves such rows out.
            clean: the command that writes good rows and bad ones to files.
        """
        self._try(f"{self.others} and these, as files of their own:", clean,
                  f"or go on with {self.others}:", go_on)  # fmt: skip

    def _try(self, *ways: str) -> None:
        self.hint = "\n        ".join([*self.advice, *(ways if self.others else ())])


@dataclass(frozen=True)
class Skip:
    """A row that was read and is not used."""

    reason: str
    origin: Origin
    place: str
    """`file:line: field`, or `file:line:column` where the JSON itself is broken."""
    got: object = None
    need: str = ""
    hint: str = ""
    text: str | None = None
    """What stands there, of a row that no reader could read; the ledger does not keep it."""

    @property
    def field(self) -> str | None:
        """Which field is at fault; `None` where the row as a whole is."""
        head = f"{self.origin.file}:{self.origin.line}: "
        return self.place.removeprefix(head) if self.place.startswith(head) else None

    @classmethod
    def of(cls, error: RowError, origin: Origin) -> Skip:
        """The fault of a row at its place in the file."""
        place = f"{origin.file}:{origin.line}: {error.where}"
        return cls(error.reason, origin, place, error.got, error.need, error.hint)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the value found as errors show it."""
        said = DataError(self.place, got=self.got, need=self.need, hint=self.hint).as_dict()
        place = {"reason": self.reason, "origin": list(self.origin), "place": self.place}
        return {**place, "got": said["got"], "need": self.need, "hint": self.hint}

    @classmethod
    def again(cls, said: Mapping[str, Any]) -> Skip:
        """What `as_dict` has told."""
        return cls(**{**said, "origin": Origin(*said["origin"])})


@dataclass
class Skips:
    """Rows that are not used for one reason; the first of them are remembered."""

    count: int = 0
    first: list[Skip] = field(default_factory=list)

    def add(self, *skips: Skip, count: int | None = None) -> None:
        """Count rows, and remember them as long as there are few."""
        self.count += len(skips) if count is None else count
        self.first += skips[: max(0, _KEPT - len(self.first))]


@dataclass
class Account:
    """The rows of one file."""

    read: int = 0
    used: int = 0
    skipped: dict[str, Skips] = field(default_factory=dict)

    @property
    def num_skipped(self) -> int:
        """Rows read and not used."""
        return sum(skips.count for skips in self.skipped.values())


@dataclass
class Finding:
    """Rows that are used although something about them is worth knowing."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    """Where the first of them stand."""


class Ledger:
    """What became of every row, by file.

    Args:
        journal: gets every skipped row, as a line of JSON; memory keeps only the first ones.
        told: the lines of a journal that has been written.
    """

    def __init__(self, journal: TextIO | None = None, *, told: Iterable[bytes] = ()) -> None:
        self.files: dict[str, Account] = {}
        self.notes: list[str] = []
        self.tools = False
        """Whether a row has tools or calls them."""
        self.wanted: dict[str, int] = {}
        """`num_samples` of the datasets that have fewer rows."""
        self.stands_for = 0
        """Rows of which those that are read are a sample; 0: all are read."""
        self.findings: dict[str, Finding] = {}
        """By kind; each has its note, too."""
        self.told = told
        """All skipped rows as lines of JSON (`Skip.as_dict`), of a ledger that has been kept."""
        self._journal = journal

    def read(self, file: str) -> None:
        """One more row was found in the file."""
        self.account(file).read += 1

    def use(self, file: str) -> None:
        """A row that was read becomes an example."""
        self.account(file).used += 1

    def skip(self, skip: Skip) -> None:
        """A row that was read is not used, and why."""
        skip = skip if skip.text is None else replace(skip, text=None)
        self.account(skip.origin.file).skipped.setdefault(skip.reason, Skips()).add(skip)
        if self._journal is not None:
            self._journal.write(json.dumps(skip.as_dict(), ensure_ascii=False) + "\n")

    def find(self, kind: str, place: object, count: int = 1) -> None:
        """Something worth knowing about one more row, or about several from `place` on."""
        finding = self.findings.setdefault(kind, Finding())
        finding.count += count
        if len(finding.first) < _SHOWN_PLACES:
            finding.first.append(str(place))

    def account(self, file: str) -> Account:
        """The rows of one file."""
        return self.files.setdefault(file, Account())

    def skips(self) -> dict[str, Skips]:
        """All skipped rows by reason, most frequent first."""
        found: dict[str, Skips] = {}
        for account in self.files.values():
            for reason, skips in account.skipped.items():
                found.setdefault(reason, Skips()).add(*skips.first, count=skips.count)
        return dict(sorted(found.items(), key=lambda item: (-item[1].count, item[0])))

    def close(self) -> None:
        """Every row that was read is used or skipped, in every file."""
        for file, account in self.files.items():
            assert account.read == account.used + account.num_skipped, (
                f"the row ledger of {file} does not close: read {account.read}, "
                f"used {account.used}, skipped {account.num_skipped}"
            )

    def stop_on_bad_rows(self, on_bad_row: str) -> None:
        """Stop the run on bad rows, unless they are acknowledged.

        Raises:
            BadRows: all kinds with their counts and the first three places of each.
        """
        refusal = self.refusal(on_bad_row)
        if refusal:
            raise refusal

    def refusal(self, on_bad_row: str) -> BadRows | None:
        """Why bad rows stop the run; `None` where there are none, or they are acknowledged.

        Rows over the cutoff never stop it: they are counted, and the note names a cutoff.
        """
        bad = {reason: s for reason, s in self.skips().items() if reason != OVER_CUTOFF}
        if not bad or on_bad_row == "skip":
            return None
        return _told(bad, read=self.num_read, of=self.stands_for)

    @property
    def num_read(self) -> int:
        """Rows of all files."""
        return sum(account.read for account in self.files.values())

    @property
    def num_skipped(self) -> int:
        """Rows of all files that are not used."""
        return sum(account.num_skipped for account in self.files.values())

    @property
    def bad(self) -> int:
        """Rows that stop a run unless `on_bad_row: skip` leaves them out."""
        return sum(s.count for reason, s in self.skips().items() if reason != OVER_CUTOFF)

    def as_dict(self) -> dict[str, Any]:
        """The ledger for JSON: counts, and the places of the first skipped rows."""
        return {
            "files": {
                file: {
                    "read": account.read,
                    "used": account.used,
                    "skipped": {
                        reason: {
                            "count": skips.count,
                            "first": [skip.as_dict() for skip in skips.first],
                        }
                        for reason, skips in account.skipped.items()
                    },
                }
                for file, account in self.files.items()
            },
            "notes": list(self.notes),
            "tools": self.tools,
            "wanted": dict(self.wanted),
            "findings": {kind: asdict(found) for kind, found in self.findings.items()},
        }

    @classmethod
    def of(cls, said: Mapping[str, Any], told: Iterable[bytes] = ()) -> Ledger:
        """The ledger that `as_dict` has told, with the lines of its journal."""
        ledger = cls(told=told)
        ledger.notes = list(said["notes"])
        ledger.tools = bool(said["tools"])
        ledger.wanted = dict(said["wanted"])
        ledger.findings = {kind: Finding(**found) for kind, found in said["findings"].items()}
        for file, account in said["files"].items():
            skipped = {
                reason: Skips(skips["count"], [Skip.again(one) for one in skips["first"]])
                for reason, skips in account["skipped"].items()
            }
            ledger.files[file] = Account(account["read"], account["used"], skipped)
        return ledger

    def lines(self) -> list[str]:
        """The ledger for the plan: one line per file, one per reason, one per note."""
        found = []
        for file, account in self.files.items():
            found.append(
                f"{file}: {counted(account.read)} read = {account.used:,} used"
                f" + {account.num_skipped:,} skipped"
            )
            for reason, skips in account.skipped.items():
                found.append(f"  {reason}: {skips.count:,} ({_places(skips)})")
        return found + self.notes


def counted(count: int) -> str:
    """`1 row`, `4,019 rows`."""
    return "1 row" if count == 1 else f"{count:,} rows"


def _places(skips: Skips) -> str:
    shown = [skip.place for skip in skips.first[:_SHOWN_PLACES]]
    return ", ".join(shown) + (", …" if skips.count > _SHOWN_PLACES else "")


def _told(bad: dict[str, Skips], *, read: int, of: int) -> BadRows:
    """All kinds with their counts and the first three places of each."""
    first = min(
        (skip for skips in bad.values() for skip in skips.first),
        key=lambda skip: (skip.origin.file, skip.origin.row),
    )
    count = sum(skips.count for skips in bad.values())
    others = ""
    if read > count:
        others = "the other row" if read - count == 1 else f"the other {counted(read - count)}"
    rows = f"{read:,} rows"
    if of:
        rows, others = f"{read:,} rows, a sample of {of:,},", "the other rows"
    firsts = [skips.first[0] for skips in bad.values()]
    advice = tuple(dict.fromkeys(skip.hint for skip in firsts if skip.hint))
    if count == 1 and not of:
        return BadRows.of(first.place, got=first.got, need=first.need, advice=advice, others=others)
    kinds = []
    for reason, skips in bad.items():
        kinds.append(f"\n        {reason}: {counted(skips.count)}")
        for skip in skips.first[:_SHOWN_PLACES]:
            one = DataError(skip.place, got=skip.got).as_dict()["got"]
            kinds.append(f"\n          {skip.place}: got {one}, need {skip.need}")
    return BadRows.of(
        first.place,
        got=f"{count:,} of {rows} that cannot be used",
        need="rows without these faults:" + "".join(kinds),
        advice=advice,
        others=others,
    )
