"""What is suggested as the next command runs as it stands."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.command import command, following
from tunesmith.cli.main import main


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment in `.venv` that is not activated, below the current directory."""
    place = tmp_path / ".venv" / "bin"
    place.mkdir(parents=True)
    (place / "tunesmith").write_text("#!/bin/sh\necho $1 of $2\n")
    (place / "tunesmith").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return place


def test_outside_the_path_the_program_is_named_by_its_place_and_runs_as_typed(environment):
    assert following("chat", "my run.yaml") == "next    .venv/bin/tunesmith chat 'my run.yaml'"
    typed = command("chat", "my run.yaml")
    done = subprocess.run(typed, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == "chat of my run.yaml\n"


def test_on_the_path_the_name_is_enough_also_through_a_link(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(environment))
    assert command("plan", "run.yaml") == "tunesmith plan run.yaml"
    links = tmp_path / "links"
    links.mkdir()
    (links / "tunesmith").symlink_to(environment / "tunesmith")
    monkeypatch.setenv("PATH", str(links))
    assert command("plan", "run.yaml") == "tunesmith plan run.yaml"


def test_another_installation_on_the_path_is_not_meant(environment, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tunesmith").write_text("#!/bin/sh\n")
    (other / "tunesmith").chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    monkeypatch.chdir(other)
    assert command("plan", "x") == f"{environment / 'tunesmith'} plan x"


def test_without_a_script_it_is_the_module(environment):
    (environment / "tunesmith").unlink()
    assert command("plan", "x") == f"{Path('.venv/bin/python')} -m tunesmith plan x"


def test_an_error_about_bad_rows_ends_with_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tiny_rows(6)
    rows[1]["output"] = rows[2]["output"] = ""
    tiny_run(tmp_path, rows=rows)
    words = ["plan", "run.yaml", "on_bad_row=error", "output_dir=o ut"]
    assert main(words) == 2
    *_, clean, _, last = capsys.readouterr().err.splitlines()
    assert last.strip() == command("plan", "run.yaml", "output_dir=o ut", "on_bad_row=skip")
    assert main(shlex.split(last)[last.split().index("plan") :]) == 0
    assert " data clean run.yaml 'output_dir=o ut' --output " in clean
