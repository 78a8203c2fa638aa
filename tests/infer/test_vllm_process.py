"""vLLM's process, by a stand-in of its name: it starts, tells why it does not, and never stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from standin_vllm import OPTIONS, standing_in
from tiny_model import tiny_model
from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.vllm_process import Child, _line, cause, require


def alive(number: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_without_vllm_there_is_one_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"tunesmith\[vllm\]\""):
        require()


def test_options_become_a_command_line():
    said = {"a_b": 1, "c": True, "d_e": False, "g": None, "f": ["x=1", "y=2"], "h": {"i": True}}
    words = ["--a-b", "1", "--c", "--no-d-e", "--f", "x=1", "y=2", "--h", '{"i": true}']
    assert _line(said) == words


LOG = """
(EngineCore_0 pid=9) ERROR 11-11 [core.py:700] Traceback (most recent call last):
(EngineCore_0 pid=9) ERROR 11-11 [core.py:700]   File "core.py", line 1, in run
(EngineCore_0 pid=9) ERROR 11-11 [core.py:700] torch.OutOfMemoryError: no memory
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_the_first_error_of_a_log_is_the_cause():
    assert cause(LOG) == "torch.OutOfMemoryError: no memory"
    last = LOG.strip().splitlines()[-1]
    assert cause(last).endswith("See root cause above."), "where nothing else is told"
    assert cause("one\n\n two \n") == "one | two"
    gone = "ConnectionResetError: [Errno 104] Connection reset by peer\n"
    assert cause(gone + LOG) == "torch.OutOfMemoryError: no memory", "a client hung up, no more"
    assert cause("") == ""


def test_a_start_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    standing_in(monkeypatch, STANDIN_SLOW="600")
    with pytest.raises(ModelError) as caught:
        Child({"model": tiny_model(tmp_path), **OPTIONS}, deadline=0.5)
    assert str(caught.value.got).startswith("no answer for ")
    assert caught.value.hint == "a larger vllm_start_seconds"


def test_its_log_is_kept_where_it_says_why_and_only_there(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = tiny_model(tmp_path)
    standing_in(monkeypatch)
    child = Child({"model": directory, **OPTIONS})
    child.end()
    assert not list(tmp_path.glob("*.log"))
    assert child.died() == "vLLM was ended"
    standing_in(monkeypatch, STANDIN_FAILS="1")
    with pytest.raises(ModelError) as caught:
        Child({"model": directory, **OPTIONS})
    (log,) = tmp_path.glob("*.log")
    assert str(log) in str(caught.value.got)
    assert "no GPU in sight" in log.read_text()


def test_a_start_that_fails_is_told_in_its_own_words(tmp_path, monkeypatch):
    standing_in(monkeypatch, STANDIN_FAILS="1")
    with pytest.raises(ModelError, match="ended with 5: ValueError: no GPU in sight"):
        Child({"model": tiny_model(tmp_path), **OPTIONS})


def test_it_ends_with_us_however_that_comes_about(tmp_path, monkeypatch):
    standing_in(monkeypatch)
    told = []
    child = Child({"model": tiny_model(tmp_path), **OPTIONS}, report=told.append)
    number = child._process.pid
    assert told == sorted(told)
    assert child.died() is None
    child.end()
    assert not alive(number)

    code = (
        "import sys, time; from tunesmith.infer.vllm_process import Child\n"
        f"child = Child({{'model': {str(tmp_path / 'llama')!r}, **{OPTIONS!r}}})\n"
        "print(child._process.pid, flush=True); time.sleep(60)"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert ours.stdout is not None
    number = int(ours.stdout.readline())
    assert alive(number)
    os.kill(ours.pid, signal.SIGKILL)
    ours.wait()
    ours.stdout.close()
    until = time.monotonic() + 20
    while alive(number) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(number)
