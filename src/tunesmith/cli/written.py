"""A file that a verb is asked to write: refused before any work where it could not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunesmith.errors import ConfigError

_PNG = b"\x89PNG\r\n\x1a\n"


def new_file(option: str, path: Path, *, what: str, is_one: Callable[[Path], bool]) -> Path:
    """The path, where a file can be written that takes nothing else's place.

    Directories are not made: a name that is mistyped would become one.

    Args:
        option: that names it, `--png`.
        path: as it was given.
        what: is written, and may be written over: `a picture`.
        is_one: whether a file is one.

    Raises:
        ConfigError: a directory that is not there, or something else in the file's place.
    """
    where = f"command line: {option} {path}"
    if path.is_dir():
        hint = f"{option} {path / Path(what.split()[-1]).with_suffix(f'.{option[2:]}')}"
        raise ConfigError(where, got="a directory", need="the name of a file", hint=hint)
    if not path.parent.is_dir():
        got = "a file" if path.parent.exists() else "no such directory"
        got = f"{got}: {path.parent}"
        raise ConfigError(where, got=got, need="a directory that is there", hint=_made(path.parent))
    if path.exists() and not is_one(path):
        need = f"a new name, or {what} to write over"
        raise ConfigError(where, got="a file that is there already", need=need)
    return path


def is_png(path: Path) -> bool:
    """Whether a file is a PNG."""
    try:
        with path.open("rb") as file:
            return file.read(len(_PNG)) == _PNG
    except OSError:
        return False


def _made(directory: Path) -> str:
    return "" if directory.exists() else f"mkdir -p {directory}"
