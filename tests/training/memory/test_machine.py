"""What this machine has, and what this process took of it."""

import mmap
import platform
import subprocess
import sys

import pytest
import torch

from tunesmith.training.memory import machine

MIB = 1 << 20


def test_memory_is_counted_in_bytes():
    assert machine.free_bytes("cpu") > machine.resident_bytes() > 10 * MIB
    assert machine.process_bytes("cpu") >= machine.resident_bytes()
    assert machine.swap_bytes("cuda") == 0 <= machine.swap_bytes("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_what_a_shell_allows_is_all_that_is_free(limit):
    program = f"""
import resource
from tunesmith.training.memory import machine
before = machine.free_bytes("cpu")
used = machine._status({"VmSize" if limit == "RLIMIT_AS" else "VmData"!r})
resource.setrlimit(resource.{limit}, (used + {200 * MIB},) * 2)
print(before, machine.free_bytes("cpu") - machine.resident_bytes())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 300 * MIB
    assert 180 * MIB < after <= 200 * MIB


def test_the_narrowest_group_decides_and_pages_of_files_are_free(tmp_path, monkeypatch):
    inner = tmp_path / "job" / "step"
    inner.mkdir(parents=True)
    for folder, limit, used, files in ((inner, 900, 500, 300), (tmp_path / "job", 2000, 1900, 100)):
        (folder / "memory.max").write_text(f"{limit * MIB}\n")
        (folder / "memory.current").write_text(f"{used * MIB}\n")
        stat = f"anon 5\nactive_file {files * MIB // 2}\ninactive_file {files * MIB // 2}\n"
        (folder / "memory.stat").write_text(stat)
    (tmp_path / "memory.max").write_text("max\n")
    groups = {"": (str(tmp_path), "memory.max", "memory.current")}
    monkeypatch.setattr(machine, "_GROUPS", groups)
    monkeypatch.setattr(machine, "_groups", lambda: [("", "/"), ("", "/job/step")])
    assert machine._group_rooms() == [700 * MIB, 200 * MIB]


def test_a_peak_begins_where_it_was_reset_and_is_seen_though_it_is_over():
    machine.reset_peak("cpu")
    start = machine.peak_bytes("cpu")
    with mmap.mmap(-1, 64 * MIB) as block:
        block.write(b"x" * 64 * MIB)
    assert machine.peak_bytes("cpu") >= start + 60 * MIB
    before = machine.reset_peak("cpu")
    assert before >= start + 60 * MIB
    assert machine.peak_bytes("cpu") <= before


def test_a_run_ends_with_what_was_predicted_and_what_was():
    assert machine.compared(3 << 29, 2 << 30) == "memory: 1.5 GiB predicted, 2.0 measured"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_a_new_peak_does_not_begin_with_what_was_freed():
    held = [torch.ones(25_000) for _ in range(1000)]  # each too small for a mapping of its own
    last = held[-1]  # holds the end of the heap
    held.clear()
    before = machine.resident_bytes()
    machine.reset_peak("cpu")
    assert machine.resident_bytes() < before - 60 * MIB
    assert last.sum() == 25_000
