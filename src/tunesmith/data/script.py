"""Rows that the user's own Python makes (`script_url`), kept as JSON lines and read like any file.

The script has a function `rows()` (or `rows(split)`) that yields a dict a row, or a class
with `_split_generators` and `_generate_examples`, as loading scripts of `datasets` have.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith import store
from tunesmith.data.entry import Entry, at_home
from tunesmith.errors import DataError


def rows_of(entry: Entry, *, allowed: bool) -> Path:
    """The file with the rows that the script makes, in the cache.

    It is made anew each time, because a script may read what it likes; the same rows give the
    same file.

    Raises:
        DataError: code is not allowed (nothing has run then), no such script, one that fails
            or makes something else than rows.
    """
    script = _script(entry)
    if not allowed:
        raise DataError(
            entry.place,
            got=f"script_url: {script}, which is Python to be run",
            need="trust_remote_code: true, once you have read it",
            hint="trust_remote_code=true on the command line",
        )
    root = store.cache_root() / "scripts"
    store.make_directory(root)
    part = root / f"{script.stem}.{os.getpid()}.part"
    try:
        return _written(script, entry, part)
    except DataError:
        raise
    except BaseException as error:  # it is not our code: whatever it does is told, not shown
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failed(script, error) from None
    finally:
        sys.modules.pop(_name_of(script), None)
        part.unlink(missing_ok=True)


def _written(script: Path, entry: Entry, part: Path) -> Path:
    """The rows as lines of JSON, one at a time: there may be more than memory holds."""
    digest, number = hashlib.sha256(), 0
    with part.open("wb") as out:
        for number, row in enumerate(_rows(_module(script), entry), 1):
            if not isinstance(row, dict):
                raise _no_rows(script, got=f"row {number}: {type(row).__name__}")
            line = json.dumps(row, allow_nan=False).encode() + b"\n"
            digest.update(line)
            out.write(line)
    if not number:
        raise _no_rows(script, got="no rows")
    path = part.with_name(f"{script.stem}-{digest.hexdigest()[:16]}.jsonl")
    os.replace(part, path)
    return path


def _script(entry: Entry) -> Path:
    path = entry.base / at_home(Path(entry.value), entry.place)
    if path.is_dir():
        path = path / f"{path.name}.py"
    if not path.is_file():
        need = "a Python file, or a folder with one of its name"
        raise DataError(entry.place, got=f"{path}: no such file", need=need)
    return path


def _module(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_name_of(script), script)
    if spec is None or spec.loader is None:
        raise DataError(str(script), got="another type of file", need="a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # `datasets` looks up the module of a builder
    spec.loader.exec_module(module)
    return module


def _name_of(script: Path) -> str:
    return f"tunesmith_script_{script.stem}"


def _rows(module: ModuleType, entry: Entry) -> Iterable[Any]:
    make = getattr(module, "rows", None)
    if callable(make):
        wants = inspect.signature(make).parameters
        return make(entry.split) if wants else make()  # pyright: ignore[reportReturnType]
    for value in vars(module).values():
        own = inspect.isclass(value) and value.__module__ == module.__name__
        if own and callable(getattr(value, "_generate_examples", None)):
            return _examples(value, entry)
    raise _no_rows(Path(str(module.__file__)), got="neither in the script")


def _examples(builder: Any, entry: Entry) -> Iterator[Any]:
    """The examples of a loading script of `datasets`, as it makes them."""
    from tunesmith.data.fetch import library

    made = builder(config_name=entry.subset) if entry.subset else builder()
    manager = library("datasets", "datasets", entry).DownloadManager()
    splits = {str(split.name): split for split in made._split_generators(manager)}
    if entry.split not in splits:
        raise DataError(
            entry.place, got=f"split: {entry.split}", need=f"one of {', '.join(splits)}"
        )
    for _, row in made._generate_examples(**splits[entry.split].gen_kwargs):
        yield row


def _no_rows(script: Path, *, got: str) -> DataError:
    return DataError(
        str(script),
        got=got,
        need="a function rows() that yields a dict for each row, or a GeneratorBasedBuilder",
    )


def _failed(script: Path, error: BaseException) -> DataError:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename) == script]
    where = f"{script}:{inside[-1].lineno}" if inside else str(script)
    if isinstance(error, SyntaxError) and error.lineno:
        where = f"{script}:{error.lineno}"
    return DataError(where, got=f"{type(error).__name__}: {error}", need="a script that makes rows")
