"""A kept directory is hashed once, again when a file looks different, and made by one process."""

import os
import subprocess
import sys
import time

import pytest

from tunesmith import store
from tunesmith.store import kept


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    with store.publish(tmp_path / "kept", facts={"commit": "1"}) as directory:
        (directory / "a.json").write_text("{}")
    return tmp_path / "kept"


def test_the_facts_are_those_of_the_manifest(place):
    assert kept.facts(place) == {"commit": "1"}
    assert kept.facts(place.parent / "nowhere") is None


def test_a_file_is_read_again_only_when_it_looks_different(place, monkeypatch):
    verified = []
    real = store.verify
    monkeypatch.setattr(kept, "verify", lambda path: (verified.append(path), real(path))[1])
    kept.facts(place)
    kept.facts(place)
    assert len(verified) == 1
    os.utime(place / "a.json")
    assert kept.facts(place) == {"commit": "1"}
    assert len(verified) == 2
    kept.facts(place, again=True)
    assert len(verified) == 3


def test_damage_is_noticed_whatever_the_time_stamps_say(place):
    assert kept.facts(place)
    stat = (place / "a.json").stat()
    (place / "a.json").write_text("[]!")
    os.utime(place / "a.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert kept.facts(place) is None
    (place / "a.json").unlink()
    assert kept.facts(place) is None


def test_a_second_process_waits_for_the_first(place):
    code = (
        "import sys, time; from pathlib import Path; from tunesmith.store import kept\n"
        f"with kept.held(Path({str(place)!r})):\n"
        "    print('held', flush=True); time.sleep(0.6)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        started = time.monotonic()
        with kept.held(place):
            waited = time.monotonic() - started
    assert waited > 0.3


def test_a_cache_that_cannot_be_written_costs_another_look_only(place, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", "/dev/null")
    assert kept.facts(place) == {"commit": "1"}
