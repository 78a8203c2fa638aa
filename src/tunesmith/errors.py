"""Every error that a user can meet: one tree, four facts each.

    Error                 where, got, need, try (the last is called `hint` in code)
    ├── ConfigError       a value in the run file or on the command line     exit code 2
    ├── DataError         a file or row of the user's data                   exit code 2
    ├── TemplateError     a chat template, or data that it cannot express    exit code 2
    ├── ModelError        a model or tokenizer that cannot be used           exit code 2
    ├── OutputError       an output directory that cannot be used            exit code 2
    ├── StoreError        a file that could not be written or verified       exit code 2
    └── TrainError        training cannot go on                              exit code 1

A mistake of the user is an `Error`; a state that cannot be is an `assert` with its reason.
"""

from __future__ import annotations

import re
from typing import Any

_SHOWN_CHARACTERS = 200
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Error(Exception):
    """A failure with the four things a reader needs: where, got, need, try.

    Args:
        where: a place the reader can open: `run.yaml:14: lora_rank`,
            `data/a.jsonl:3021: messages[2].role`, `step 417`.
        got: the value found, shortened when shown; `None` means that there is none.
        need: the rule or the set of values that would do, and the consequence where
            it is not obvious.
        hint: a command or value to try.
    """

    exit_code = 2

    def __init__(self, where: str, *, got: object = None, need: str = "", hint: str = "") -> None:
        super().__init__(where)
        self.where, self.got, self.need, self.hint = where, got, need, hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive a worker process, fields and all."""
        return type(self), (self.where,), self.__dict__

    def __str__(self) -> str:
        lines = [self.where.replace("\n", "\\n")]  # of a key or a file name
        if self.got is not None:
            lines.append(f"  got   {_shorten(self.got)}")
        if self.need:
            lines.append(f"  need  {self.need}")
        if self.hint:
            lines.append(f"  try   {self.hint}")
        return printable("\n".join(lines))

    def line(self) -> str:
        """The same in one line, for where a conversation or a list goes on below it."""
        place, *facts = (" ".join(part.split()) for part in str(self).splitlines())
        return f"{place}: {'; '.join(facts)}" if facts else place

    def as_dict(self) -> dict[str, Any]:
        """The four facts for `--json` and the Python API."""
        got = None if self.got is None else _shorten(self.got)
        return {
            "error": type(self).__name__,
            "where": self.where,
            "got": got,
            "need": self.need,
            "try": self.hint,
        }


class ConfigError(Error, ValueError):
    """A value in the run file or on the command line."""


class DataError(Error, ValueError):
    """A file or row of the user's data."""


class TemplateError(Error, ValueError):
    """A chat template that is unknown or wrong, or data that it cannot express."""


class ModelError(Error, ValueError):
    """A model, adapter or tokenizer that cannot be found, read or trusted."""


class OutputError(Error, ValueError):
    """An output directory that holds something else or cannot be written."""


class StoreError(Error, OSError):
    """A file that could not be written, or that does not verify."""


class TrainError(Error, RuntimeError):
    """Training cannot go on; nothing after the last good step has been applied."""

    exit_code = 1


def printable(text: str) -> str:
    r"""Text for a terminal or a log: control characters but newline and tab are spelled.

    Whoever wrote a row or a file name would otherwise command the terminal of whoever reads it
    (C0 and C1 of ISO 6429: titles, cursor, colours). ESC is shown as `\x1b`. Lone surrogates,
    which no stream can write, are shown as JSON spells them.
    """
    return _UNPRINTABLE.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[: _SHOWN_CHARACTERS - 20]} … ({len(text)} characters)"
