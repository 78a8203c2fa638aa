"""Files of a store are copied once, and again when they change."""

import fsspec
import pytest

from tunesmith.data import cloud
from tunesmith.data.entry import Columns, Entry, Tags
from tunesmith.errors import DataError


def entry_of(url):
    return Entry(
        "d", (), "alpaca", Columns(), Tags(), "info.json:1: d", source="cloud_file_name", value=url
    )


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe({"/bucket/b.jsonl": b"2", "/bucket/a.jsonl": b"1"})
    yield files
    files.store.clear()


def test_a_file_and_a_folder_come_in_the_order_of_their_names(memory, tmp_path):
    (one,) = cloud.download(entry_of("memory://bucket/a.jsonl"), tmp_path, fsspec)
    assert (one.name, one.read_bytes()) == ("a.jsonl", b"1")
    both = cloud.download(entry_of("memory://bucket"), tmp_path, fsspec)
    assert [path.read_bytes() for path in both] == [b"1", b"2"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_has_changed_is_copied_anew(memory, tmp_path):
    (before,) = cloud.download(entry_of("memory://bucket/a.jsonl"), tmp_path, fsspec)
    memory.pipe({"/bucket/a.jsonl": b"3"})
    (after,) = cloud.download(entry_of("memory://bucket/a.jsonl"), tmp_path, fsspec)
    assert after.read_bytes() == b"3"
    assert before != after


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rows.jsonl", "a URL such as"),
        ("memory://bucket/c.jsonl", "no files"),
        ("nothing://x/y", "a library that reads nothing://"),
    ],
)
def test_what_cannot_be_had_is_refused(memory, tmp_path, url, told):
    with pytest.raises(DataError) as error:
        cloud.download(entry_of(url), tmp_path, fsspec)
    assert told in str(error.value)
    assert not list(tmp_path.rglob("*.part"))


def test_a_store_without_its_library_names_it(memory, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(DataError) as error:
        cloud.download(entry_of("s3://bucket/a.jsonl"), tmp_path, fsspec)
    assert "pip install s3fs" in error.value.hint
