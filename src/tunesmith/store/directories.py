"""Whole directories: built out of sight, sealed with a manifest, put in place at once.

A power cut may undo whatever is not synced, in any combination; a single rename is atomic, as
on every journaling file system. Under these rules a name without a leading dot is either
complete or does not verify, and the previous content is there until the new one is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tunesmith.errors import StoreError
from tunesmith.store import disk
from tunesmith.store.files import (
    abandoned,
    absolute,
    explained,
    hidden_name,
    json_bytes,
    make_directory,
    sync_names,
    working_on,
    write_new,
)

MANIFEST = "MANIFEST.json"
_FORMAT = 1
_CHUNK_BYTES = 1 << 20


class FileFact(NamedTuple):
    """What the manifest says about a file."""

    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """What a published directory holds."""

    facts: dict[str, Any]
    """What the publisher said about it, for example step and fingerprint."""
    files: dict[str, FileFact]
    """By path relative to the directory, with forward slashes."""
    extra: tuple[str, ...] = ()
    """Files that stand there without being in the manifest; nothing is known about them."""


@contextmanager
def publish(directory: Path, *, facts: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Build a directory out of sight; on leaving, seal it and put it in place at once.

    A published directory of the same name is replaced: at every moment the old or the new
    one is there, or comes back by `clean`.

    Args:
        directory: final place; its parents are made.
        facts: JSON values for the manifest, read on leaving.

    Yields:
        A new directory beside it, to be filled by any means. On an exception it is removed.

    Raises:
        StoreError: a file cannot be written, synced or read back as it was written; or
            `directory` holds something that was not published.
    """
    directory = absolute(directory)
    with explained(directory):
        _refuse_foreign(directory)
    make_directory(directory.parent)
    with (
        explained(directory, only_disk=True),
        working_on(hidden_name(directory, "tmp")) as temporary,
    ):
        try:
            with explained(directory):
                disk.current.mkdir(temporary)
            yield temporary
            with explained(directory):
                _seal(temporary, dict(facts or {}))
                _put_in_place(temporary, directory)
        except BaseException:
            with suppress(OSError):
                _delete(temporary)
            raise


def verify(directory: Path, *, contents: bool = True) -> Manifest:
    """Read every file of a published directory and compare it with the manifest.

    Args:
        directory: that was published.
        contents: false looks at names and sizes only, in no time.

    Raises:
        StoreError: names the first file that is missing, or differs in size or hash.
    """
    directory = absolute(directory)
    manifest = read_manifest(directory)
    with explained(directory):
        there, _ = _walk(directory)
    compare(directory, manifest.files, contents=contents)
    return manifest._replace(extra=tuple(n for n in there if n not in {*manifest.files, MANIFEST}))


def describe(directory: Path, names: Iterable[str]) -> dict[str, FileFact]:
    """Size and hash of files in a directory, to `compare` with later.

    Raises:
        StoreError: one of them cannot be read.
    """
    directory = absolute(directory)
    with explained(directory):
        return {name: _fact(directory / name) for name in sorted(names)}


def compare(directory: Path, files: Mapping[str, FileFact], *, contents: bool = True) -> None:
    """Hold files in a directory against what was known of them.

    Args:
        directory: that they are in.
        files: what they were, by name; others may stand there, too.
        contents: false looks at names and sizes only, in no time.

    Raises:
        StoreError: names the first file that is missing, or differs in size or hash.
    """
    directory = absolute(directory)
    for name, fact in files.items():
        path = directory / name
        with explained(path):
            missing = disk.current.kind(path) != "file"
        if missing:
            raise StoreError(str(path), got="missing", need=f"a file of {fact.bytes} bytes")
        with explained(path):
            found = _fact(path) if contents else FileFact(_size(path), fact.sha256)
        if found.bytes != fact.bytes:
            raise StoreError(str(path), got=f"{found.bytes} bytes", need=f"{fact.bytes} bytes")
        if found.sha256 != fact.sha256:
            need = f"sha256 {fact.sha256}, as it was written"
            raise StoreError(str(path), got=f"sha256 {found.sha256}", need=need)


def is_verified(directory: Path) -> bool:
    """Whether `verify` has nothing to say against it."""
    try:
        verify(directory)
    except StoreError:
        return False
    return True


def read_manifest(directory: Path) -> Manifest:
    """The manifest itself, checked against its own seal; no other file is read.

    Raises:
        StoreError: it is missing, damaged, or of a newer format.
    """
    path = absolute(directory) / MANIFEST
    with explained(path):
        if disk.current.kind(path) != "file":
            need = "a directory that was written to its end"
            raise StoreError(str(path), got="missing", need=need)
        raw = b"".join(_chunks(path))
    try:
        value = json.loads(raw)
        known = value["format"]
        facts, files = value["facts"], {n: FileFact(**f) for n, f in value["files"].items()}
        whole = raw == _manifest_bytes(path, facts, files, known) and isinstance(facts, dict)
        inside = all(_is_plain(name) for name in files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreError(str(path), got="damaged", need="the manifest as it was written") from None
    if whole and known != _FORMAT:
        need = f"format {_FORMAT}: a newer Tunesmith has written this"
        raise StoreError(str(path), got=f"format {known}", need=need)
    if not (whole and inside):
        raise StoreError(str(path), got="damaged", need="the manifest as it was written")
    return Manifest(facts, files)


def remove(directory: Path) -> None:
    """Remove a directory; half removed, it no longer has its name. A missing one is fine.

    Raises:
        StoreError: it cannot be removed.
    """
    directory = absolute(directory)
    with explained(directory):
        if disk.current.kind(directory) is None:
            return
        with working_on(hidden_name(directory, "tmp")) as gone:
            disk.current.rename(directory, gone)
            sync_names(directory.parent)
            _delete(gone)


def clean(parent: Path, *, name: str | None = None) -> list[str]:
    """Finish or undo what dead processes left in `parent`.

    Call it with the `lock` of the directory: processes of other hosts look dead from here.

    Args:
        parent: may be missing.
        name: of what is cleaned up beside; `None`: everything in `parent`. With the `lock` of
            that alone.

    Returns:
        What was done, one line each; empty in the usual case.

    Raises:
        StoreError: something cannot be removed or put back.
    """
    parent, done = absolute(parent), []
    with explained(parent):
        if disk.current.kind(parent) is None:
            return done
        names = [
            n
            for n in disk.current.listdir(parent)
            if (left := abandoned(parent / n)) and name in (None, left[0].name)
        ]
        if names:
            # What stands under a final name may not be durable yet, if its writer died between
            # renaming and syncing; until it is, the one that it replaces must stay.
            sync_names(parent)
        for hidden in names:
            left = abandoned(parent / hidden)
            assert left is not None, "a dead process stays dead"
            final, kind = left
            if kind == "was" and disk.current.kind(final) is None:
                disk.current.rename(parent / hidden, final)
                sync_names(parent)
                done.append(f"{final.name}: put back, its replacement was not finished")
            else:
                _delete(parent / hidden)
                done.append(f"{hidden}: removed, an unfinished write")
    return done


def move_aside(directory: Path) -> Path:
    """Rename a directory to the first free `NAME.old-N`.

    Raises:
        StoreError: it is missing or cannot be renamed.
    """
    directory, number = absolute(directory), 1
    with explained(directory):
        while disk.current.kind(directory.with_name(f"{directory.name}.old-{number}")) is not None:
            number += 1
        aside = directory.with_name(f"{directory.name}.old-{number}")
        disk.current.rename(directory, aside)
        sync_names(directory.parent)
    return aside


def _refuse_foreign(directory: Path) -> None:
    kind = disk.current.kind(directory)
    if kind is None:
        return
    need, hint = f"nothing of this name, or a directory with {MANIFEST}", "move it away"
    if kind != "directory":
        raise StoreError(str(directory), got=f"a {kind}", need=need, hint=hint)
    names = disk.current.listdir(directory)
    if names and MANIFEST not in names:
        raise StoreError(str(directory), got=", ".join(names), need=need, hint=hint)


def _seal(temporary: Path, facts: dict[str, Any]) -> None:
    """Sync every file, write the manifest, sync all names, read everything back."""
    names, directories = _walk(temporary)
    if MANIFEST in names:
        raise StoreError(str(temporary / MANIFEST), got="a file", need="this name left free")
    files = {name: _fact(temporary / name, sync=True) for name in names}
    path = temporary / MANIFEST
    write_new(path, _manifest_bytes(path, facts, files, _FORMAT))
    for name in (*reversed(directories), ""):
        sync_names(temporary / name)
    extra = verify(temporary).extra
    if extra:
        raise StoreError(str(temporary / extra[0]), got="written late", need="no writer left")


def _put_in_place(temporary: Path, directory: Path) -> None:
    if disk.current.kind(directory) is None:
        disk.current.rename(temporary, directory)
        sync_names(directory.parent)
        return
    with working_on(hidden_name(directory, "was")) as old:
        try:
            disk.current.rename(directory, old)
            sync_names(directory.parent)
            disk.current.rename(temporary, directory)
            sync_names(directory.parent)
        except BaseException:
            with suppress(OSError):
                if disk.current.kind(directory) is None:
                    disk.current.rename(old, directory)
            raise
        _delete(old)


def _manifest_bytes(path: Path, facts: Any, files: Mapping[str, FileFact], known: Any) -> bytes:
    """The one text for this content; the last entry is the hash of everything before it."""
    value = {"format": known, "facts": facts, "files": {n: f._asdict() for n, f in files.items()}}
    seal = hashlib.sha256(json_bytes(path, value)).hexdigest()
    return json_bytes(path, {**value, "seal": seal})


def _is_plain(name: str) -> bool:
    """Whether a manifest's name stays inside its directory."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _walk(directory: Path, inside: str = "") -> tuple[list[str], list[str]]:
    """Files and directories below, as sorted relative names, outer before inner."""
    files, directories = [], []
    for entry in disk.current.listdir(directory / inside):
        name = f"{inside}/{entry}" if inside else entry
        kind = disk.current.kind(directory / name)
        if kind == "directory":
            inner = _walk(directory, name)
            files += inner[0]
            directories += [name, *inner[1]]
        elif kind == "file":
            files.append(name)
        else:
            raise StoreError(str(directory / name), got=f"a {kind}", need="plain files only")
    return files, directories


def _fact(path: Path, *, sync: bool = False) -> FileFact:
    size, digest = 0, hashlib.sha256()
    for chunk in _chunks(path, sync=sync):
        size += len(chunk)
        digest.update(chunk)
    return FileFact(size, digest.hexdigest())


def _size(path: Path) -> int:
    fd = disk.current.open(path, os.O_RDONLY)
    try:
        return disk.current.size(fd)
    finally:
        disk.current.close(fd)


def _chunks(path: Path, *, sync: bool = False) -> Iterator[bytes]:
    fd = disk.current.open(path, os.O_RDONLY)
    try:
        while chunk := disk.current.read(fd, _CHUNK_BYTES):
            yield chunk
        if sync:
            disk.current.fsync(fd)
            disk.current.forget(fd)
    finally:
        disk.current.close(fd)


def _delete(path: Path) -> None:
    """Remove a file or a tree; links are removed, not followed. A missing one is fine."""
    kind = disk.current.kind(path)
    if kind == "directory":
        for name in disk.current.listdir(path):
            _delete(path / name)
        disk.current.rmdir(path)
    elif kind is not None:
        disk.current.unlink(path)
