"""A command of ours as the user can type it in the shell that this one was typed in."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tunesmith.errors import Error

_PROGRAM = "tunesmith"
_KEY = "on_bad_row"


def command(*words: object) -> str:
    """`tunesmith chat run.yaml`, by the path of the program where its name alone is not found.

    An environment need not be activated (`make quickstart` does not): what is suggested then
    has to name the executable, or it ends in "command not found", or in another installation.
    """
    return f"{_program()} {' '.join(shlex.quote(str(word)) for word in words)}"


def following(*words: object) -> str:
    """The last line of a verb: what to type next."""
    return f"next    {command(*words)}"


def going_on(error: Error, words: Sequence[str], arguments: argparse.Namespace) -> None:
    """Let an error about bad rows end with the command, as it was typed, that leaves them out.

    Args:
        error: any; others are left as they are.
        words: of the command that failed, from its verb on.
        arguments: the same, parsed.
    """
    from tunesmith.data.ledger import BadRows

    if isinstance(error, BadRows):
        error.typed(command(*without_bad_rows(words)), clean(arguments))


def without_bad_rows(words: Sequence[str]) -> list[str]:
    """The words of a command, as it leaves bad rows out."""
    return [*(word for word in words if not word.startswith(f"{_KEY}=")), f"{_KEY}=skip"]


def clean(arguments: argparse.Namespace) -> str:
    """The command that writes the good rows of a run and its bad ones to files of their own."""
    target = getattr(arguments, "target", None) or arguments.name
    overrides = [word for word in arguments.overrides if not word.startswith(f"{_KEY}=")]
    return command("data", "clean", target, *overrides, "--output", "cleaned")


def _program() -> str:
    beside = Path(sys.executable).parent / _PROGRAM
    found = shutil.which(_PROGRAM)
    if not beside.is_file():  # a checkout on PYTHONPATH, or an installation without scripts
        return _PROGRAM if found else f"{shlex.quote(_short(Path(sys.executable)))} -m {_PROGRAM}"
    return _PROGRAM if found and _same(Path(found), beside) else shlex.quote(_short(beside))


def _same(one: Path, other: Path) -> bool:
    """Whether two scripts are one: links that installers put on PATH count."""
    return os.path.realpath(one) == os.path.realpath(other)


def _short(path: Path) -> str:
    """Relative where it lies below the current directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
