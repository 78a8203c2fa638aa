"""Every silent bug can still be put back, and the tests that are to notice it are there."""

import ast
import os
import re
import subprocess
import sys

import pytest

import mutants
from mutant_list import MUTANTS, NOT_HERE

every = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)


@every
def test_what_a_bug_replaces_stands_once_in_its_file(mutant):
    text = mutants.changed(mutant)
    ast.parse(text)
    assert mutant.old in (mutants.ROOT / "src/tunesmith" / mutant.file).read_text(encoding="utf8")
    assert text.count(mutant.old) <= mutant.new.count(mutant.old)


@every
def test_the_tests_that_are_to_notice_it_exist(mutant):
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (mutants.ROOT / "tests" / file).read_text(encoding="utf8")
        assert not name or f"def {name.partition('[')[0]}(" in text, test


def test_every_entry_of_the_groups_has_its_bug_or_the_reason_why_not():
    groups = {"A": 15, "C": 6, "D": 15}
    wanted = {f"{group}{n}" for group, count in groups.items() for n in range(1, count + 1)}
    there = {re.match(r"[A-Z]\d+", mutant.id).group() for mutant in MUTANTS}
    assert wanted <= there | NOT_HERE.keys()
    assert not there & NOT_HERE.keys()
    ids = [mutant.id for mutant in MUTANTS]
    assert len(set(ids)) == len(ids) >= 40


def test_a_place_that_reads_otherwise_now_is_told_with_the_place_to_mend(tmp_path):
    file = tmp_path / "src/tunesmith" / MUTANTS[0].file
    file.parent.mkdir(parents=True)
    for text in ("", MUTANTS[0].old * 2):
        file.write_text(text)
        with pytest.raises(ValueError, match="mutant_list"):
            mutants.changed(MUTANTS[0], tmp_path)


JUDGE = """
import queue, sys
from pathlib import Path
import mutants
place, mutant = Path(sys.argv[1]), mutants.MUTANTS[0]._replace(file="x.py", old="1", new="2")
places = queue.Queue()
places.put(place)
for name in ("sharp.py", "blunt.py", "missing.py"):
    print(mutants.judged(mutant._replace(tests=(name,)), places).word)
"""


def test_a_bug_is_killed_survives_or_cannot_be_judged(tmp_path):
    """On a tree of one function and two tests of it."""
    source = tmp_path / "src/tunesmith/x.py"
    source.parent.mkdir(parents=True)
    (source.parent / "__init__.py").touch()
    source.write_text("def x():\n    return 1\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/sharp.py").write_text(
        "from tunesmith.x import x\ndef test_x():\n    assert x() == 1\n"
    )
    (tmp_path / "tests/blunt.py").write_text("def test_x():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(tmp_path)], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(mutants.ROOT / "tests")},
    )  # fmt: skip
    assert done.stdout.split() == ["killed", "SURVIVED", "BROKEN"]
    assert "return 1" in source.read_text()


def test_the_score_decides_the_exit_code():
    killed = mutants.Verdict(MUTANTS[0], "killed", "", 1.0)
    assert mutants.told([killed, killed]) == 0
    assert mutants.told([killed, killed._replace(word="SURVIVED")]) == 1
    assert mutants.told([killed, killed._replace(word="BROKEN")]) == 2


def test_an_unknown_id_is_an_error(capsys):
    with pytest.raises(SystemExit):
        mutants.main(["Z9"])
    assert "Z9" in capsys.readouterr().err
