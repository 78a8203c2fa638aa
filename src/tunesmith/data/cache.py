"""Prepared examples that are kept: made once for the same files, template, tokenizer and options.

The key is a hash of everything that decides them: the raw bytes of the data files, the text of
the template, the tokenizer, the options and the code that prepares. A store is published whole
by the one process that makes it; others wait for it. What is interrupted is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache as once
from importlib.metadata import version
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import tunesmith
from tunesmith import store
from tunesmith.data import token_store
from tunesmith.data.ledger import Ledger
from tunesmith.data.registry import Entry
from tunesmith.data.rows import file_digest
from tunesmith.data.token_store import Examples, Writer
from tunesmith.errors import DataError, OutputError, StoreError
from tunesmith.templates import Renderer
from tunesmith.types import Tokenizer

_FORGOTTEN_SECONDS = 30 * 24 * 3600
_SETTLED_NS = 2_000_000_000
"""A file that was written less than this ago may be written again within one time stamp."""


def key(
    entries: Sequence[tuple[Entry, bool]],
    source: str,
    renderer: Renderer,
    tokenizer: Tokenizer,
    *,
    options: Mapping[str, Any],
) -> str:
    """The name of what is made of these; other names for all that could make other examples.

    Args:
        entries: of the registry, and whether their rows are held out.
        source: hash of the bytes of their files, in order.
        renderer: the template.
        tokenizer: the tokenizer.
        options: of the run.
    """
    layouts = [(str(entry._replace(place="")), held_out) for entry, held_out in entries]
    said = {
        "entries": layouts,  # where the registry names them does not matter
        "source": source,
        "template": renderer.identity(),
        "tokenizer": [hashlib.sha256(tokenizer.backend.to_str().encode()).hexdigest()]
        + [repr(getattr(tokenizer, name)) for name in ("bos", "eos", "pad", "unk", "stops")],
        "options": dict(options),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def there(name: str) -> bool:
    """Whether the examples of a key have been made."""
    return store.kept.facts(store.cache_root() / "data" / name / "tokens") is not None


def kept(
    name: str, fill: Callable[[Writer, Ledger], None], *, again: bool = False
) -> tuple[Examples, Ledger]:
    """The examples of a key and what became of every row; made where they are not there.

    Args:
        name: the key.
        fill: makes them.
        again: make them though they are there.

    Raises:
        Error: whatever `fill` raises; nothing is kept then.
        StoreError: the disk is full or fails.
    """
    directory = store.cache_root() / "data" / name / "tokens"
    found = None if again else _found(directory)
    if found is not None:
        return found
    try:
        store.make_directory(directory.parent)
    except StoreError:  # no cache here: they are made for this process alone
        with tempfile.TemporaryDirectory() as folder:
            return _opened(Path(folder), _made(Path(folder), fill))  # mapped files outlive it
    with store.kept.held(directory):
        found = None if again else _found(directory)  # another process has made them meanwhile
        if found is not None:
            return found
        store.clean(directory.parent)
        _forget_unused(directory.parent.parent)
        facts: dict[str, Any] = {}
        with store.publish(directory, facts=facts) as temporary:
            facts.update(_made(temporary, fill))
        store.kept.remember(directory)
    return _opened(directory, facts)


def digest(path: Path) -> str:
    """sha256 of a file; not read again while it looks as it did."""
    try:
        stat = path.stat()
        look = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        note = store.cache_root() / "digests" / f"{_name(path)}.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads(note.read_bytes())
            if noted["look"] == look:
                return str(noted["sha256"])
        whole = file_digest(path).hex()
        settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_NS
    except OSError as error:
        raise DataError(str(path), got=error.strerror, need="a file that can be read") from None
    if settled:
        with suppress(StoreError):  # a cache that cannot be written costs another look, no more
            store.make_directory(note.parent)
            store.write_json(note, {"look": look, "sha256": whole})
    return whole


def _made(directory: Path, fill: Callable[[Writer, Ledger], None]) -> dict[str, Any]:
    """Fill a directory; what a manifest should say about it."""
    with (
        (directory / "skipped.jsonl").open("w", encoding="utf8") as journal,
        Writer(directory) as writer,
    ):
        ledger = Ledger(journal)
        fill(writer, ledger)
        writer.finish()
    facts = {"sources": list(writer.sources), "ledger": ledger.as_dict()}
    return facts | {"media": _opened(directory, facts)[0].look()}


def _found(directory: Path) -> tuple[Examples, Ledger] | None:
    facts = store.kept.facts(directory)
    if facts is None:
        return None
    with suppress(OSError):
        os.utime(directory)  # it has been of use today
    found = _opened(directory, facts)
    return found if found[0].look() == facts["media"] else None


def _forget_unused(root: Path) -> None:
    """Remove what no run has asked for in a month; whoever reads it meanwhile reads on."""
    for directory in root.glob("*/tokens"):
        with suppress(OSError, OutputError):
            if time.time() - directory.stat().st_mtime > _FORGOTTEN_SECONDS:
                with store.lock(directory):
                    store.remove(directory)


def _opened(directory: Path, facts: Mapping[str, Any]) -> tuple[Examples, Ledger]:
    sources = [(str(dataset), str(file)) for dataset, file in facts["sources"]]
    ledger = Ledger.of(facts["ledger"], _Lines(directory / "skipped.jsonl"))
    return token_store.read(directory, sources), ledger


class _Lines:
    """Lines of a file that outlives its name, as the mapped examples beside it do."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0  # nothing cannot be mapped
            self._all = None if empty else mmap(file.fileno(), 0, access=ACCESS_READ)

    def __iter__(self) -> Iterator[bytes]:
        if self._all is not None:
            self._all.seek(0)
            yield from iter(self._all.readline, b"")


def _name(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]


@once
def _code() -> str:
    """Hash of the code that makes examples, and of the libraries that it leaves the most to."""
    root = Path(tunesmith.__file__).parent
    libraries = [f"{name} {version(name)}" for name in ("tokenizers", "jinja2")]
    whole = hashlib.sha256(" ".join(libraries).encode())
    for room in ("data", "templates"):
        for path in sorted((root / room).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()
