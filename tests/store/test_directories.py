"""Whatever call fails and whatever a power cut loses: the old or the new one, never torn."""

import errno
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simfs import Crash, SimDisk, fails_at
from tunesmith import store
from tunesmith.errors import StoreError
from tunesmith.store import disk

OUT = Path("/sim/out")


def _files(step: int, tag: str) -> dict[str, bytes]:
    return {
        "adapter_model.safetensors": f"weights of {step} {tag} ".encode() * 9,
        "config.json": f"config of {step} {tag}".encode(),
        "sub/tokenizer.json": f"tokenizer of {step} {tag}".encode(),
    }


def _publish(sim: SimDisk, step: int, tag: str = "") -> None:
    with store.publish(OUT / f"checkpoint-{step}", facts={"step": step, "tag": tag}) as temporary:
        for name, data in _files(step, tag).items():
            if "/" in name:
                sim.mkdir(temporary / "sub")
            sim.put(temporary / name, data)


def _first(sim: SimDisk) -> None:
    _publish(sim, 1)


def _second(sim: SimDisk) -> None:
    _publish(sim, 2)


def _rotate(sim: SimDisk) -> None:
    _publish(sim, 2)
    store.remove(OUT / "checkpoint-1")


def _overwrite(sim: SimDisk) -> None:
    _publish(sim, 1, "again")


ACTS = {  # what is done, and what may be found: before, after
    _first: (None, (1, "")),
    _second: ((1, ""), (2, "")),
    _rotate: ((1, ""), (2, "")),
    _overwrite: ((1, ""), (1, "again")),
}


def _prepared(act) -> SimDisk:
    sim = SimDisk()
    disk.current = sim
    store.make_directory(OUT)
    if act is not _first:
        _publish(sim, 1)
    sim.calls.clear()
    return sim


_KNOWN: dict[str, tuple[int, str] | None] = {}


def _found(sim: SimDisk) -> tuple[int, str] | None:
    """Recovery in a new process: step and tag of the newest that verifies; never torn.

    Disks that look alike (but for the counter in hidden names) are looked at once.
    """
    state = re.sub(r"(tmp|was)-\d+-\d+-\d+", r"\1", repr(sim.state()))
    if state not in _KNOWN:
        _KNOWN[state] = _recovered(sim)
    return _KNOWN[state]


def _recovered(sim: SimDisk) -> tuple[int, str] | None:
    disk.current = sim
    store.clean(OUT)
    names = [n for n in sim.listdir(OUT) if n.startswith("checkpoint-")]
    for name in sorted(names, reverse=True):
        if store.is_verified(OUT / name):
            facts = store.read_manifest(OUT / name).facts
            content = sim.files(OUT / name)
            del content[store.MANIFEST]
            assert content == _files(facts["step"], facts["tag"]), "torn and not noticed"
            assert not [n for n in sim.listdir(OUT) if n.startswith(".")], "leftovers"
            return facts["step"], facts["tag"]
    return None


def _run(act, sim: SimDisk) -> bool:
    """Whether it came to its end; a failure must be a StoreError or the crash."""
    try:
        act(sim)
    except (StoreError, Crash):
        return False
    except OSError as error:  # of the caller's own writing, and not about our disk
        assert error.errno == errno.EINTR  # noqa: PT017
        return False
    return True


@pytest.fixture(autouse=True)
def _real_disk_afterwards():
    real = disk.current
    yield
    disk.current = real


FAILURES = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, "short", "crash"]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("act", ACTS)
def test_every_call_that_fails_leaves_the_old_or_the_new_one(act, failure):
    before, after = ACTS[act]
    at, points = 0, 0
    while True:
        sim = _prepared(act)
        sim.fail = fails_at(at, failure)
        complete = _run(act, sim)
        if len(sim.calls) <= at:
            assert complete
            break
        points += 1
        found = _found(sim.copy())
        assert found in ((after,) if complete else (before, after)), (at, sim.calls[at])
        assert failure != "short" or complete, "half a write is no failure"
        chance = random.Random(at)
        for cut in sim.power_cuts(chance, exhaustive=64, samples=8):
            found = _found(cut)
            assert found in ((after,) if complete else (before, after)), (at, sim.calls[at])
        disk.current = sim = sim.copy()
        act(sim)  # the same once more, by the next process
        assert _found(sim) == after, (at, sim.calls)
        at += 1
    assert points > 60


@pytest.mark.parametrize("act", ACTS)
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new_one(act):
    before, after = ACTS[act]
    chance, states, at = random.Random(7), 0, 0
    while True:
        sim = _prepared(act)
        sim.fail = fails_at(at, "crash")
        complete = _run(act, sim)
        for cut in sim.power_cuts(chance, exhaustive=243, samples=60):
            states += 1
            assert _found(cut) in ((after,) if complete else (before, after)), sim.calls[-2:]
        if complete:
            break
        at += 1
    assert states > 3000, "with four acts more than 12,000"


@pytest.mark.parametrize("act", [_rotate, _overwrite])
def test_a_crash_of_the_recovery_itself_does_no_harm(act):
    before, after = ACTS[act]
    chance, states, at, complete = random.Random(3), 0, 0, False
    while not complete:
        sim = _prepared(act)
        sim.fail = fails_at(at, "crash")
        complete = _run(act, sim)
        recovered, again = False, 0
        while not recovered:
            second = sim.copy()
            second.fail = fails_at(again, "crash")
            try:
                disk.current = second
                store.clean(OUT)
                recovered = True
            except Crash:
                pass
            for cut in second.power_cuts(chance, exhaustive=1, samples=1):
                states += 1
                assert _found(cut) in (before, after)
            assert _found(second.copy()) in (before, after)
            again += 2
        at += 2
    assert states > 1000


class _NoSync(SimDisk):
    """Saboteur: nothing is ever synced."""

    def _make_durable(self, node) -> None:
        pass


class _NoFileSync(SimDisk):
    """Saboteur: names are synced, data is not."""

    def _make_durable(self, node) -> None:
        if node.names is not None:
            super()._make_durable(node)


class _NoNameSync(SimDisk):
    """Saboteur: data is synced, names are not."""

    def _make_durable(self, node) -> None:
        if node.names is None:
            super()._make_durable(node)


def _in_place(sim: SimDisk, step: int, tag: str = "") -> None:
    """Saboteur: no rename. Files and manifest are written and synced where they stay."""
    place = OUT / f"checkpoint-{step}"
    if sim.kind(place) is None:
        sim.mkdir(place)
    if sim.kind(place / "sub") is None:
        sim.mkdir(place / "sub")
    for name, data in _files(step, tag).items():
        store.write_bytes(place / name, data)
    source = OUT / "source"
    with store.publish(source, facts={"step": step, "tag": tag}) as temporary:
        sim.mkdir(temporary / "sub")
        for name, data in _files(step, tag).items():
            sim.put(temporary / name, data)
    store.write_bytes(place / store.MANIFEST, sim.files(source)[store.MANIFEST])
    store.remove(source)


def _remove_first(sim: SimDisk) -> None:
    """Saboteur: the old one goes before the new one is there."""
    store.remove(OUT / "checkpoint-1")
    _publish(sim, 1, "again")


def _bad_states(kind: type[SimDisk], act, allowed: tuple, *, find=_found, cuts: bool) -> int:
    """States after which neither old nor new is found, or something torn is."""
    chance, bad, at, complete = random.Random(1), 0, 0, False
    while not complete:
        sim = _prepared(_first if _first in (act,) else _second)
        sim.__class__ = kind
        sim.fail = fails_at(at, "crash")
        complete = _run(act, sim)
        states = sim.power_cuts(chance, exhaustive=1, samples=20) if cuts else [sim.copy()]
        for state in states:
            try:
                bad += find(state) not in ((allowed[1],) if complete else allowed)
            except AssertionError:
                bad += 1
        at += 1
    return bad


def test_the_same_search_finds_nothing_wrong_with_the_store_itself():
    for act, allowed in ACTS.items():
        assert _bad_states(SimDisk, act, allowed, cuts=True) == 0
        assert _bad_states(SimDisk, act, allowed, cuts=False) == 0


@pytest.mark.parametrize("kind", [_NoSync, _NoFileSync, _NoNameSync])
def test_without_syncing_the_tests_see_lost_checkpoints(kind):
    assert _bad_states(kind, _overwrite, ACTS[_overwrite], cuts=True) > 0
    assert _bad_states(kind, _rotate, ACTS[_rotate], cuts=True) > 0


def test_without_renaming_the_tests_see_a_lost_checkpoint():
    def overwrite(sim):
        _in_place(sim, 1, "again")

    assert _bad_states(SimDisk, overwrite, ACTS[_overwrite], cuts=False) > 0


def test_without_a_manifest_the_tests_see_torn_checkpoints():
    def second(sim):
        place = OUT / "checkpoint-2"
        sim.mkdir(place)
        sim.mkdir(place / "sub")
        for name, data in _files(2, "").items():
            store.write_bytes(place / name, data)

    def newest_by_name(sim):
        name = max(n for n in sim.listdir(OUT) if n.startswith("checkpoint-"))
        step = int(name[-1])
        content = {k: v for k, v in sim.files(OUT / name).items() if k != store.MANIFEST}
        assert content == _files(step, "")
        return step, ""

    assert _bad_states(SimDisk, second, ACTS[_second], find=newest_by_name, cuts=False) > 0


def test_removing_the_old_one_first_the_tests_see_neither():
    assert _bad_states(SimDisk, _remove_first, ACTS[_overwrite], cuts=False) > 0


def test_every_file_is_synced_before_the_rename_and_the_names_after_it(tmp_path):
    calls: list[tuple[str, str]] = []

    class Recording(disk.Disk):
        def fsync(self, fd: int) -> None:
            calls.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))
            super().fsync(fd)

        def rename(self, old: Path, new: Path) -> None:
            calls.append(("rename", str(new)))
            super().rename(old, new)

    disk.current = Recording()
    final = tmp_path / "checkpoint-1"
    with store.publish(final) as temporary:
        (temporary / "sub").mkdir()
        for name in ("a", "b", "sub/c"):
            (temporary / name).write_bytes(name.encode())
    at = calls.index(("rename", str(final)))
    synced = {path.removeprefix(str(temporary)) for _, path in calls[:at]}
    assert {"/a", "/b", "/sub/c", "/MANIFEST.json", "/sub", ""} <= synced
    assert calls[at + 1 :] == [("fsync", str(tmp_path))]
    names_synced = calls.index(("fsync", str(temporary)))
    manifest_synced = calls.index(("fsync", str(temporary / "MANIFEST.json")))
    assert manifest_synced < names_synced < at


def test_there_are_never_two_renames_that_are_not_synced():
    """So that a file system which does not keep their order cannot mix them up."""
    sim = _prepared(_overwrite)
    _overwrite(sim)
    calls = [call for call in sim.calls if call[0] == "rename" or call == ("fsync", str(OUT))]
    assert [name for name, _ in calls] == ["rename", "fsync", "rename", "fsync"]


def test_a_replacement_that_fails_puts_the_old_one_back_at_once():
    sim = _prepared(_overwrite)
    renames = iter([None, errno.EIO])

    def fail(number: int, name: str) -> None:
        if name == "rename" and (what := next(renames, None)):
            raise OSError(what, os.strerror(what))

    sim.fail = fail
    with pytest.raises(StoreError):
        _overwrite(sim)
    assert store.verify(OUT / "checkpoint-1").facts["tag"] == ""
    assert sim.listdir(OUT) == ["checkpoint-1"]


def _published(directory: Path, **facts) -> Path:
    with store.publish(directory, facts=facts) as temporary:
        (temporary / "a.bin").write_bytes(bytes(range(256)) * 3)
        (temporary / "sub").mkdir()
        (temporary / "sub" / "ü.txt").write_text("text")
    return directory


def test_the_manifest_says_what_is_there(tmp_path):
    manifest = store.verify(_published(tmp_path / "x", step=3, name="ä"))
    assert manifest.facts == {"step": 3, "name": "ä"}
    digest = hashlib.sha256(bytes(range(256)) * 3).hexdigest()
    assert manifest.files["a.bin"] == (768, digest)
    assert set(manifest.files) == {"a.bin", "sub/ü.txt"}
    assert manifest.extra == ()


@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_of_any_byte_is_found_and_the_file_named(tmp_path, bit):
    directory = _published(tmp_path / "x", step=3)
    for file in (p for p in directory.rglob("*") if p.is_file()):
        whole = file.read_bytes()
        for at in range(len(whole)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with pytest.raises(StoreError) as caught:
                store.verify(directory)
            assert caught.value.where == str(file), (file, at)
        file.write_bytes(whole)
    store.verify(directory)


def test_what_is_missing_shorter_or_a_link_is_named(tmp_path):
    directory = _published(tmp_path / "x")
    (directory / "a.bin").write_bytes(b"ab")
    with pytest.raises(StoreError) as caught:
        store.verify(directory, contents=False)
    assert (caught.value.got, caught.value.need) == ("2 bytes", "768 bytes")
    (directory / "a.bin").unlink()
    with pytest.raises(StoreError, match=r"a\.bin") as caught:
        store.verify(directory)
    assert caught.value.got == "missing"
    (directory / "a.bin").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match=r"a\.bin") as caught:
        store.verify(directory)
    assert caught.value.got == "a link"


def test_files_beside_the_published_ones_are_told_and_harmless(tmp_path):
    directory = _published(tmp_path / "x")
    (directory / "notes.txt").write_text("mine")
    assert store.verify(directory).extra == ("notes.txt",)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 10_000, '{"format": 1}', "\xff"])
def test_a_manifest_that_we_did_not_write_is_damaged(tmp_path, text):
    directory = _published(tmp_path / "x")
    (directory / "MANIFEST.json").write_text(text, encoding="latin1")
    with pytest.raises(StoreError) as caught:
        store.verify(directory)
    assert caught.value.got == "damaged"
    assert not store.is_verified(directory)


def _sealed(directory: Path, **changes) -> None:
    """A manifest whose seal is right, as somebody who knows the format could forge it."""
    path = directory / "MANIFEST.json"
    value = {k: v for k, v in json.loads(path.read_text()).items() if k != "seal"} | changes
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    seal = hashlib.sha256(text.encode()).hexdigest()
    text = json.dumps({**value, "seal": seal}, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text)


def test_a_newer_format_is_refused_as_such(tmp_path):
    directory = _published(tmp_path / "x")
    _sealed(directory)
    store.verify(directory)
    _sealed(directory, format=2)
    with pytest.raises(StoreError, match="newer Tunesmith"):
        store.verify(directory)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/../../outside"])
def test_a_manifest_does_not_lead_out_of_its_directory(tmp_path, name):
    directory = _published(tmp_path / "x")
    (tmp_path / "outside").write_text("")
    _sealed(directory, files={name: {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}})
    with pytest.raises(StoreError) as caught:
        store.verify(directory)
    assert caught.value.got == "damaged"


def test_an_exception_while_filling_leaves_nothing(tmp_path):
    def fill():
        with store.publish(tmp_path / "x") as temporary:
            (temporary / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert os.listdir(tmp_path) == []


def test_a_directory_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    with store.publish(tmp_path / "x"):
        pass  # an empty one may be
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "thesis.tex").write_text("mine")
    (tmp_path / "z").write_text("a file")
    for name in ("y", "z"):
        with pytest.raises(StoreError) as caught:
            _published(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
    assert (tmp_path / "y" / "thesis.tex").read_text() == "mine"
    assert (tmp_path / "z").read_text() == "a file"


def test_what_does_not_read_back_as_written_never_takes_the_place_of_the_old_one(tmp_path):
    class Forgetful(disk.Disk):
        def forget(self, fd: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if path.name == "a.bin":
                path.write_bytes(b"\0" * 768)

    old = store.verify(_published(tmp_path / "x", step=1))
    disk.current = Forgetful()
    with pytest.raises(StoreError, match=r"a\.bin"):
        _published(tmp_path / "x", step=2)
    assert store.verify(tmp_path / "x") == old
    assert os.listdir(tmp_path) == ["x"]


def test_a_file_that_arrives_while_it_is_sealed_is_refused(tmp_path):
    class Late(disk.Disk):
        def forget(self, fd: int) -> None:
            (Path(os.readlink(f"/proc/self/fd/{fd}")).parent / "late").write_text("")

    disk.current = Late()
    with pytest.raises(StoreError, match="late"):
        _published(tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_links_and_a_manifest_of_its_own_are_refused(tmp_path):
    for make in (
        lambda t: (t / "link").symlink_to("/etc/hostname"),
        lambda t: (t / "MANIFEST.json").write_text("{}"),
        lambda t: os.mkfifo(t / "pipe"),
    ):
        with pytest.raises(StoreError), store.publish(tmp_path / "x") as temporary:
            make(temporary)
        assert os.listdir(tmp_path) == []


def test_facts_must_be_json(tmp_path):
    with pytest.raises(StoreError, match=r"MANIFEST\.json"):
        _published(tmp_path / "x", loss=float("nan"))
    assert os.listdir(tmp_path) == []


def test_clean_removes_what_dead_processes_left_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = f"{process.pid}-{disk.Disk().started(process.pid)}"
    reused = f"{process.pid}-1"
    names = {
        "living": f".a.tmp-{alive}-0",
        "reused": f".a.tmp-{reused}-0",
        "dead": ".b.tmp-4194303-5-7",
        "own": f".c.tmp-{os.getpid()}-1-0",
        "similar": ".d.tmp-x",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    with store.publish(tmp_path / "e") as temporary:
        done = store.clean(tmp_path)
        assert temporary.is_dir()
    assert len(done) == 3
    assert set(os.listdir(tmp_path)) == {names["living"], names["similar"], "e"}
    process.communicate(b"\n")
    assert store.clean(tmp_path / "missing") == []
    assert len(store.clean(tmp_path)) == 1


def test_clean_of_one_name_leaves_what_others_have_left(tmp_path):
    for name in (".a.tmp-4194303-5-7", ".a.was-4194303-5-8", ".b.tmp-4194303-5-7"):
        (tmp_path / name).mkdir()
    assert len(store.clean(tmp_path, name="a")) == 2
    assert set(os.listdir(tmp_path)) == {"a", ".b.tmp-4194303-5-7"}


def test_removing_and_moving_aside(tmp_path):
    for number in (1, 2):
        (tmp_path / "run" / "deep").mkdir(parents=True)
        (tmp_path / "run" / "deep" / "link").symlink_to(tmp_path)
        assert store.move_aside(tmp_path / "run") == tmp_path / f"run.old-{number}"
    store.remove(tmp_path / "run.old-1")
    store.remove(tmp_path / "run.old-1")
    assert os.listdir(tmp_path) == ["run.old-2"]
    with pytest.raises(StoreError, match="run"):
        store.move_aside(tmp_path / "run")


def test_half_removed_it_no_longer_has_its_name():
    at = 0
    while True:
        sim = _prepared(_second)
        sim.fail = fails_at(at, "crash")
        complete = _run(lambda s: store.remove(OUT / "checkpoint-1"), sim)
        for state in (sim.copy(), *sim.power_cuts(random.Random(at), exhaustive=500, samples=50)):
            named = "checkpoint-1" in state.listdir(OUT)
            assert _found(state) == ((1, "") if named else None)
            assert not (named and complete)
        if complete:
            break
        at += 1


def test_published_by_name_of_a_linked_directory(tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big disk")
    _published(tmp_path / "out" / "checkpoint-1")
    assert store.is_verified(tmp_path / "big disk" / "checkpoint-1")


def test_files_are_held_against_what_was_known_of_them(tmp_path):
    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "other").write_bytes(b"not known")
    known = store.describe(tmp_path, ["a"])
    store.compare(tmp_path, known)
    (tmp_path / "a").write_bytes(b"WEIGHTS")
    store.compare(tmp_path, known, contents=False)
    with pytest.raises(StoreError, match="sha256"):
        store.compare(tmp_path, known)
    (tmp_path / "a").unlink()
    with pytest.raises(StoreError, match="missing"):
        store.compare(tmp_path, known)
