"""Files are hashed once; whatever may have changed is hashed again."""

import hashlib
import os

import pytest

from tunesmith import store
from tunesmith.data.ledger import RowError
from tunesmith.data.media import digests as module
from tunesmith.data.media.digests import digests


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def old_file(path, data):
    """A file that has not been written to for a while."""
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))
    return str(path)


def counting(monkeypatch):
    """Paths that are read from now on."""
    read, real = [], module._digest
    monkeypatch.setattr(module, "_digest", lambda path: read.append(path) or real(path))
    return read


def test_they_are_sha256_and_read_once(tmp_path, monkeypatch):
    paths = [old_file(tmp_path / name, name.encode()) for name in "ab"]
    done = []
    found = digests(paths, progress=done.append)
    assert found == {
        p: hashlib.sha256(n).digest() for p, n in zip(paths, (b"a", b"b"), strict=True)
    }
    assert done == [1, 2]
    read = counting(monkeypatch)
    third = old_file(tmp_path / "c", b"c")
    assert digests([*paths, third]).items() > found.items()
    assert read == [third]


def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path, monkeypatch):
    path = old_file(tmp_path / "a", b"one")
    first = digests([path])
    old_file(tmp_path / "a", b"two")
    assert digests([path])[path] == hashlib.sha256(b"two").digest() != first[path]


def test_what_was_written_just_now_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"new")
    read, path = counting(monkeypatch), str(tmp_path / "a")
    digests([path])
    digests([path])
    assert read == [path, path]


def test_a_damaged_table_is_no_table(tmp_path, monkeypatch):
    path = old_file(tmp_path / "a", b"a")
    digests([path])
    table = store.cache_root() / "digests" / "pictures.bin"
    raw = bytearray(table.read_bytes())
    raw[-1] ^= 1
    table.write_bytes(raw)
    read = counting(monkeypatch)
    assert digests([path])[path] == hashlib.sha256(b"a").digest()
    assert read == [path]


def test_a_table_does_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2)
    digests([old_file(tmp_path / "a", b"a"), old_file(tmp_path / "b", b"b")])
    digests([old_file(tmp_path / "c", b"c")])
    assert (store.cache_root() / "digests" / "pictures.bin").stat().st_size == 32 + 64


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(RowError, match="gone"):
        digests([str(tmp_path / "gone.png")])
