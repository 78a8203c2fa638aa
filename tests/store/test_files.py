"""One file holds the old bytes or the new ones; a failure is one clear error."""

import contextlib
import errno
import json
import math
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from simfs import Crash, SimDisk, fails_at
from tunesmith import store
from tunesmith.errors import StoreError
from tunesmith.store import disk

FILE = Path("/sim/file.json")


@pytest.fixture(autouse=True)
def _real_disk_afterwards():
    real = disk.current
    yield
    disk.current = real


def _content(sim: SimDisk) -> bytes | None:
    """What a new process reads, after cleaning."""
    disk.current = sim
    store.clean(FILE.parent)
    left = sim.files(FILE.parent)
    assert set(left) <= {FILE.name}
    return left.get(FILE.name)


@pytest.mark.parametrize("old", [None, b"old content"])
@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO, errno.EINTR, "short", "crash"])
def test_a_file_is_the_old_or_the_new_one_whatever_fails_or_is_lost(old, failure):
    at, complete_once = 0, False
    while not complete_once:
        disk.current = sim = SimDisk()
        if old is not None:
            store.write_bytes(FILE, old)
        sim.calls.clear()
        sim.fail = fails_at(at, failure)
        try:
            store.write_bytes(FILE, b"new content")
            complete = True
        except (StoreError, Crash):
            complete = False
        complete_once = len(sim.calls) <= at
        allowed = (b"new content",) if complete else (old, b"new content")
        assert _content(sim.copy()) in allowed, at
        for cut in sim.power_cuts(random.Random(at), exhaustive=1000, samples=100):
            assert _content(cut) in allowed, at
        at += 1
    assert complete
    assert at > 9


def test_a_file_that_its_first_line_does_not_fit_in_is_not_left_behind():
    for at in range(8):
        disk.current = sim = SimDisk()
        sim.fail = fails_at(at, errno.ENOSPC)
        with contextlib.suppress(StoreError):
            store.append_line(FILE, "first")
            assert sim.files(FILE.parent)[FILE.name] == b"first\n"
        assert sim.files(FILE.parent).get(FILE.name) in (None, b"first\n"), at


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO, "short", "crash"])
def test_a_line_is_appended_whole_or_taken_back(failure):
    for at in range(12):
        disk.current = sim = SimDisk()
        store.append_line(FILE, "first", sync=True)
        sim.calls.clear()
        sim.fail = fails_at(at, failure)
        try:
            store.append_line(FILE, "second line", sync=True)
            complete = True
        except (StoreError, Crash):
            complete = False
        assert complete or failure != "short"
        found = bytes(sim.files(FILE.parent)[FILE.name])
        assert found in ((b"first\nsecond line\n",) if complete else (
            b"first\n", b"first\nsecond line\n",
        ))  # fmt: skip
        for cut in sim.power_cuts(random.Random(at), exhaustive=1000, samples=100):
            found = cut.files(FILE.parent)[FILE.name]
            assert found.startswith(b"first\n")
            assert found == b"first\nsecond line\n" or not complete


def test_without_syncing_the_tests_see_a_lost_file():
    class NoSync(SimDisk):
        def _make_durable(self, node) -> None:
            pass

    disk.current = sim = NoSync()
    store.write_bytes(FILE, b"new content")
    found = {
        cut.files(FILE.parent).get(FILE.name)
        for cut in sim.power_cuts(random.Random(0), exhaustive=1000, samples=100)
    }
    assert {None, b"", b"new c", b"new content"} <= found


def test_floats_and_text_come_back_from_json_as_they_were(tmp_path):
    value = {"loss": 0.1 + 0.2, "tiny": 5e-324, "text": "ü\u2028\n", "list": [1, None, True]}
    store.write_json(tmp_path / "deep" / "er" / "x.json", value)
    assert json.loads((tmp_path / "deep" / "er" / "x.json").read_text()) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"x", "\ud800"])
def test_what_json_has_no_word_for_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(StoreError, match=r"x\.json"):
        store.write_json(tmp_path / "x.json", {"value": value})
    assert os.listdir(tmp_path) == []


def test_a_file_is_cut_and_only_ever_shortened(tmp_path):
    path = tmp_path / "log"
    assert store.append_line(path, "one") == 4
    assert store.append_line(path, "zwö") == 9
    store.cut(path, 4)
    assert path.read_text() == "one\n"
    with pytest.raises(StoreError) as caught:
        store.cut(path, 5)
    assert (caught.value.got, caught.value.need) == ("4 bytes", "at least 5 bytes")
    with pytest.raises(StoreError, match="missing"):
        store.cut(tmp_path / "missing", 0)


def test_where_a_directory_is_needed_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for act in (
        lambda: store.write_text(tmp_path / "file" / "deep" / "x", "text"),
        lambda: store.make_directory(tmp_path / "file"),
        lambda: store.publish(tmp_path / "file" / "x").__enter__(),
        lambda: store.append_line(tmp_path / "file" / "x", "text"),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert str(tmp_path / "file") in caught.value.where
        assert caught.value.got in ("a file", "Not a directory")
        assert caught.value.exit_code == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(StoreError) as caught:
        store.write_text(tmp_path / "x", "text")
    assert caught.value.where == str(tmp_path / "x")
    assert caught.value.got == "Is a directory"
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_device_says_what_was_needed_and_what_is_free():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StoreError) as caught:
        store.append_line(Path("/dev/full"), "text")
    assert caught.value.where == "/dev/full"
    assert str(caught.value.got).startswith("No space left on device: 5 bytes needed, ")
    assert str(caught.value.got).endswith(" bytes free")
    assert caught.value.hint


_LIMITED = """
import resource, sys
from pathlib import Path
from tunesmith import store
from tunesmith.errors import StoreError
out = Path(sys.argv[1])
store.write_bytes(out / "file", b"old" * 100)
with store.publish(out / "checkpoint-1") as temporary:
    (temporary / "a").write_bytes(b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def file(): store.write_bytes(out / "file", b"new" * 4000)
def line(): store.append_line(out / "log", "x" * 5000)
def directory():
    with store.publish(out / "checkpoint-1") as temporary:
        (temporary / "a").write_bytes(b"new" * 4000)
for act in (file, line, directory):
    try:
        act()
        print("no error")
    except StoreError as error:
        print(error.where.removeprefix(str(out)), "|", error.got, "|", error.hint)
print((out / "file").read_bytes() == b"old" * 100, (out / "log").exists())
print(store.is_verified(out / "checkpoint-1"), sorted(p.name for p in out.iterdir()))
"""


def test_a_limit_on_the_size_of_files_leaves_everything_as_it_was(tmp_path):
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "/file | File too large | ulimit -f",
        "/log | File too large | ulimit -f",
        "/checkpoint-1 | File too large | ulimit -f",
        "True False",
        "True ['checkpoint-1', 'file']",
    ]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB; as root only."""
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tunesmith-test", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_on_a_small_disk_that_fills_up_the_old_checkpoint_stays(small_disk):
    with store.publish(small_disk / "checkpoint-1") as temporary:
        (temporary / "a").write_bytes(bytes(100_000))
    with (
        pytest.raises(StoreError) as caught,
        store.publish(small_disk / "checkpoint-2") as temporary,
    ):
        (temporary / "a").write_bytes(bytes(300_000))
    assert "No space left on device" in str(caught.value.got)
    with pytest.raises(StoreError, match="checkpoint-2") as caught:
        store.write_bytes(small_disk / "checkpoint-2", bytes(300_000))
    assert "300000 bytes needed" in str(caught.value.got)
    assert store.is_verified(small_disk / "checkpoint-1")
    assert os.listdir(small_disk) == ["checkpoint-1"]


def test_a_read_only_disk_says_so(small_disk):
    store.write_text(small_disk / "x", "old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for act in (
        lambda: store.write_text(small_disk / "x", "new"),
        lambda: store.append_line(small_disk / "x", "new"),
        lambda: store.publish(small_disk / "y").__enter__(),
        lambda: store.make_directory(small_disk / "y"),
        lambda: store.remove(small_disk / "x"),
        lambda: store.lock(small_disk / "y").__enter__(),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert str(small_disk) in caught.value.where
        assert caught.value.got == "Read-only file system"
        assert caught.value.need == "a place that you may write to"
    assert (small_disk / "x").read_text() == "old"


def test_an_error_of_safetensors_about_the_disk_is_explained_and_others_are_not(tmp_path):
    def fill(text: str):
        with store.publish(tmp_path / "x"):
            raise RuntimeError(text)

    with pytest.raises(StoreError) as caught:
        fill("I/O error: No space left on device (os error 28)")
    assert caught.value.where == str(tmp_path / "x")
    with pytest.raises(RuntimeError):
        fill("out of memory")
    with pytest.raises(RuntimeError):
        fill("No such file or directory (os error 2)")
