"""The only room that writes files a run depends on: atomic, synced, sealed, read back."""

from tunesmith.store import kept
from tunesmith.store.directories import (
    MANIFEST,
    FileFact,
    Manifest,
    clean,
    compare,
    describe,
    is_verified,
    move_aside,
    publish,
    read_manifest,
    remove,
    verify,
)
from tunesmith.store.files import (
    append_line,
    cut,
    make_directory,
    write_bytes,
    write_json,
    write_text,
)
from tunesmith.store.install import install
from tunesmith.store.lock import lock
from tunesmith.store.space import cache_root, free_bytes, require_space

__all__ = [
    "MANIFEST", "FileFact", "Manifest", "append_line", "cache_root", "clean", "compare", "cut",
    "describe", "free_bytes", "install", "is_verified", "kept", "lock", "make_directory",
    "move_aside", "publish", "read_manifest", "remove", "require_space", "verify",
    "write_bytes", "write_json", "write_text",
]  # fmt: skip
