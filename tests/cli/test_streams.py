"""Standard streams that are closed, full, or in another encoding than UTF-8."""

import io
import json
import os
import subprocess
import sys

import pytest

from tiny_run import tiny_run
from tunesmith.cli.streams import Lasting, streams
from tunesmith.errors import OutputError


def said(verb, path, redirection="", *, given=b"", **environment):
    """Run a verb in a shell, which can close streams; its exit code, stdout and stderr."""
    command = f"{sys.executable} -m tunesmith {verb} {path} {redirection}"
    done = subprocess.run(
        ["sh", "-c", command], input=given, capture_output=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "latin-1"}, pytest.param(C_LOCALE, marks=pytest.mark.slow)],
)
def test_a_stdout_without_the_brackets_shows_the_example_all_the_same(tmp_path, environment):
    path = tiny_run(tmp_path, max_steps=1)
    code, out, _ = said("train", path, **environment)
    assert code == 0
    assert "what is trained in \\u27e6\\u27e7" in out


def test_signs_of_ours_are_written_as_what_ascii_has_for_them(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with streams(as_json=False, outlasts=False):
        print("0–4  ██▌ 33 %  ← this run …  世⟦é")
    assert raw.getvalue().decode() == "0-4  ### 33 %  <- this run ...  \\u4e16\\u27e6\\xe9\n"


def test_json_is_utf8_whatever_the_locale(tmp_path):
    path = tiny_run(tmp_path, output_dir=str(tmp_path / "äöü⟦"))
    code, out, _ = said("plan", path, "--json", **C_LOCALE)
    assert code == 0
    assert json.loads(out)["output_dir"] == str(tmp_path / "äöü⟦")


SLOW = [pytest.param(streams, marks=pytest.mark.slow) for streams in (">&-", "2>&-", "2>/dev/full")]


@pytest.mark.parametrize("redirection", [">/dev/full", ">&- 2>&-", *SLOW])
def test_a_closed_or_full_stream_does_not_cost_a_run(tmp_path, redirection):
    path = tiny_run(tmp_path, max_steps=1)
    assert said("train", path, redirection)[0] == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_a_plan_that_cannot_be_printed_is_one_error(tmp_path):
    code, _, error = said("plan", tiny_run(tmp_path), ">/dev/full")
    assert code == 2
    assert "\nerror: standard output\n" in error
    code, out, error = said("plan", tiny_run(tmp_path), ">&-")
    assert (code, out) == (0, "")
    assert error.startswith("reading ")


def test_a_chat_without_stdin_has_nothing_to_answer(tmp_path):
    code, out, _ = said("chat", tiny_run(tmp_path), "<&-")
    assert (code, out) == (0, "")


def test_a_question_that_is_no_text_is_refused_and_the_next_one_is_answered(tmp_path):
    path = tiny_run(tmp_path)
    code, out, _ = said("chat", path, "--json max_new_tokens=2", given=b"a\xff\nb\n")
    refused, answered = map(json.loads, out.splitlines())
    assert code == 2
    assert "UTF-8" in refused["error"]["need"]
    assert answered["question"] == "b"
    assert answered["answer"]


@pytest.mark.parametrize("verb", ["--help", "version --json", "template list"])
def test_without_a_reader_a_verb_ends_quietly_as_the_shell_knows_it(verb):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tunesmith", *verb.split()]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


class _Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_has_gone_ends_a_verb_that_prints_but_not_one_that_works():
    with pytest.raises(BrokenPipeError):
        Lasting(_Gone(), "standard output").write("a")
    assert Lasting(_Gone()).write("a") == 1


class _Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_stream_that_failed_is_told_about_once(monkeypatch):
    full = _Full()
    monkeypatch.setattr("sys.stdout", full)
    with streams(as_json=False, outlasts=False):
        print("one")
        with pytest.raises(OutputError, match="standard output"):
            sys.stdout.flush()
        print("two")
    assert sys.stdout is full
    assert full.getvalue() == "one\n"
