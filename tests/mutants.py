"""`make mutants`: put each silent bug of `mutant_list.py` back, and demand that a test goes red.

    python tests/mutants.py [ID ...] [--jobs N]

Works in a copy of the tree. Exit code 1 where a bug survives, 2 where one cannot be put in or the
tests are red without it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import pytest

from mutant_list import MUTANTS, NOT_HERE, Mutant

ROOT = Path(__file__).parent.parent
_LIMIT_SECONDS = 600


class Verdict(NamedTuple):
    """What became of a bug that was put in."""

    mutant: Mutant
    word: str
    """killed, SURVIVED or BROKEN."""
    by: str
    seconds: float


def changed(mutant: Mutant, root: Path = ROOT) -> str:
    """The source with the bug in it.

    Raises:
        ValueError: what it replaces does not stand there exactly once.
    """
    text = (root / "src" / "tunesmith" / mutant.file).read_text(encoding="utf8")
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(
            f"{mutant.id}: {mutant.file} holds {count} times, not once:\n{mutant.old}\n"
            "put the place as it reads now into tests/mutant_list.py"
        )
    return text.replace(mutant.old, mutant.new)


def copy(place: Path) -> Path:
    """What the tests need of the tree."""
    for name in ("src", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, place / path.name)
    return place


def tested(place: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """pytest's exit code over some tests of a copy, and the first that failed.

    In a child of this process, which has the heavy libraries in memory already.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(place, tests, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(_LIMIT_SECONDS):
            return 1, f"more than {_LIMIT_SECONDS} s"
        return ours.recv()
    except EOFError:
        return 1, "the process died"
    finally:
        child.kill()
        child.join()


def _child(place: Path, tests: tuple[str, ...], result: Connection) -> None:
    os.chdir(place)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.path[:] = [str(place / "src"), *(p for p in sys.path if Path(p) != ROOT / "tests")]
    sys.dont_write_bytecode = True
    failed: list[str] = []

    class Recorder:
        def pytest_runtest_logreport(self, report):
            failed.extend([report.nodeid] if report.failed else [])

        def pytest_collectreport(self, report):
            failed.extend([report.nodeid] if report.failed else [])

    with tempfile.TemporaryDirectory(dir=place) as scratch:
        os.environ |= {"PYTHONPATH": str(place / "src"), "TUNESMITH_CACHE": scratch}
        arguments = [
            "-x",
            "-q",
            "--tb=no",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
        ]
        arguments += [f"--basetemp={scratch}/pytest", *(f"tests/{test}" for test in tests)]
        code = pytest.main(arguments, [Recorder()])
        import tunesmith

        assert Path(tunesmith.__file__).is_relative_to(place), "the copy is what is tested"
    result.send((int(code), failed[0].removeprefix("tests/") if failed else ""))


def judged(mutant: Mutant, places: queue.Queue[Path]) -> Verdict:
    """Put one bug into a copy, run its tests, take it out."""
    place, began = places.get(), time.monotonic()
    path = place / "src" / "tunesmith" / mutant.file
    good = path.read_text(encoding="utf8")
    try:
        path.write_text(changed(mutant, place), encoding="utf8")
        code, by = tested(place, mutant.tests)
    finally:
        path.write_text(good, encoding="utf8")
        places.put(place)
    word = {0: "SURVIVED", 1: "killed"}.get(code, "BROKEN")
    return Verdict(mutant, word, by, time.monotonic() - began)


def main(arguments: list[str]) -> int:
    """Judge the asked mutants, all by default; print a table and the score."""
    parser = argparse.ArgumentParser(description="put silent bugs back, one by one")
    parser.add_argument("ids", nargs="*", help="of mutants; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="copies at work at once")
    asked = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not asked.ids or m.id in asked.ids]
    unknown = set(asked.ids) - {m.id for m in MUTANTS}
    if unknown:
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}")
    try:
        for mutant in chosen:
            changed(mutant)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ["OMP_NUM_THREADS"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft  # noqa: F401 - its children have it, and torch and transformers, already
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        places: queue.Queue[Path] = queue.Queue()
        for number in range(asked.jobs):
            places.put(copy(Path(scratch) / str(number)))
        place = places.get()
        every = tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        code, by = tested(place, every)
        places.put(place)
        if code:
            print(f"the tests are red without any bug (exit code {code}): {by}", file=sys.stderr)
            return 2
        verdicts = []
        with ThreadPoolExecutor(asked.jobs) as pool:
            for verdict in pool.map(lambda mutant: judged(mutant, places), chosen):
                verdicts.append(verdict)
                print(line(verdict), flush=True)
    return told(verdicts)


def line(verdict: Verdict) -> str:
    """A row of the table."""
    mutant, word, by, seconds = verdict
    return f"{mutant.id:<5} {word:<9} {seconds:4.0f} s  {mutant.bug:<72} {by}"


def told(verdicts: list[Verdict]) -> int:
    """Print the score; the exit code."""
    killed = sum(verdict.word == "killed" for verdict in verdicts)
    print(f"\n{killed} of {len(verdicts)} bugs turn a test red")
    for name, why in NOT_HERE.items():
        print(f"{name:<5} cannot be put in: {why}")
    if any(verdict.word == "BROKEN" for verdict in verdicts):
        return 2
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
