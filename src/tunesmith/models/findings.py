"""What a doctor has found, for people and for programs."""

from __future__ import annotations

import textwrap
from typing import Any, Literal, NamedTuple

from tunesmith.models.padded import Padded

Level = Literal["ok", "note", "warning", "error"]
"""`note`: nothing to do. `warning`: works, with the consequence that is told. `error`: a run is
refused."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    level: Level
    found: str
    consequence: str = ""
    todo: str = ""

    def line(self) -> str:
        """All of it in one line, for a plan."""
        todo = f" ({self.todo})" if self.todo else ""
        consequence = f": {self.consequence}" if self.consequence else ""
        return f"{self.what}: {self.found}{consequence}{todo}"


class Report(NamedTuple):
    """Everything that was found."""

    directory: str
    tokens: int
    rows: int | None
    """Of the embedding; `None`: there is no model beside the tokenizer."""
    findings: tuple[Finding, ...]
    example: Padded | None
    """`None` where no token can stand for padding."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What a run is refused for."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What has a consequence and refuses nothing."""
        return tuple(f for f in self.findings if f.level == "warning")

    def lines(self, width: int | None = None) -> list[str]:
        """For people; words are wrapped to a width, commands and the picture are not."""
        rows = "no model beside it" if self.rows is None else f"{self.rows:,} rows"
        out = [f"tokenizer  {self.directory}: {self.tokens:,} tokens, {rows}"]
        column = max((len(finding.what) for finding in self.findings), default=0)
        inner = None if width is None else max(20, width - column - 12)
        for finding in self.findings:
            head = f"  {finding.level:<8} {finding.what:<{column}} "
            said = (*_wrapped(finding.found, inner), *_wrapped(finding.consequence, inner))
            lines = [line for line in (*said, finding.todo) if line]
            out += [f"{head if not i else ' ' * len(head)}{line}" for i, line in enumerate(lines)]
        return out + (self.example.lines() if self.example else [])

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "directory": self.directory,
            "tokens": self.tokens,
            "rows": self.rows,
            "findings": [finding._asdict() for finding in self.findings],
            "example": self.example._asdict() if self.example else None,
        }


def _wrapped(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, width, break_long_words=False)
