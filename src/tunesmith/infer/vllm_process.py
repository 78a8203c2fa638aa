"""vLLM's server as a child: started, waited for, watched, ended with everything it has started."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.vllm import Address

_MODULE = "vllm.entrypoints.openai.api_server"
_LAUNCH = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":  # it ends when we do, however that comes about
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
sys.argv[0] = {module!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
_KEY = "VLLM_API_KEY"
_SHOWN = 160
"""Characters of its log that an error shows."""
_CAUSE = re.compile(r"\b(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit)\b: \S.*")
_AFTERMATH = (
    "Engine core initialization failed", "EngineDeadError", "CalledProcessError",
    "ConnectionResetError", "BrokenPipeError",
)  # fmt: skip
"""What one process of it says because another one has ended, or hung up."""
_GRACE_SECONDS = 20


class Child:
    """A server of vLLM that is ours.

    Args:
        options: of its command line, by name; true stands alone, false as `--no-…`; a mapping is
            JSON; none is left out.
        deadline: seconds until it answers at the latest.
        report: told how long it has been starting; may be called often.

    Raises:
        ConfigError: vLLM is not there.
        ModelError: it ended before it answered, or does not answer in time; with the reason that
            its log gives. The log is kept then.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        deadline: float = math.inf,
        report: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        require()
        self.address = Address(_free_port(), secrets.token_urlsafe(24))
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it lives as long as the child
            prefix="tunesmith-vllm-", suffix=".log", delete=False
        )
        self._why_ended: str | None = None
        said = {"host": "127.0.0.1", "port": self.address.port, **options}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH.format(module=_MODULE), *_line(said)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, _KEY: self.address.key},
            start_new_session=True,
        )
        try:
            self._wait(deadline, report)
        except BaseException:
            self.end()
            raise

    def died(self) -> str | None:
        """Why it has ended, and where its log is; `None`: it runs."""
        code = self._process.poll()
        if code is not None and self._why_ended is None:
            self._why_ended = f"vLLM ended with {code}: {self._why()}"
        return self._why_ended

    def end(self) -> None:
        """End it and all that it has started; returns when they are gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
                if number == signal.SIGKILL or not _group_lives(self._process.pid):
                    break
        if self._process.poll() is not None:
            self._log.close()
        if self._why_ended is None:
            self._why_ended = "vLLM was ended"
            Path(self._log.name).unlink(missing_ok=True)

    def _wait(self, deadline: float, report: Callable[[float], None]) -> None:
        began = time.monotonic()
        while not self._answers():
            died = self.died()
            if died:
                raise ModelError("infer_backend: vllm", got=died, need="a server that starts")
            took = time.monotonic() - began
            if took > deadline:
                self._why_ended = f"no answer for {took:.0f} s: {self._why()}"
                raise ModelError(
                    "infer_backend: vllm", got=self._why_ended,
                    need="a server that starts", hint="a larger vllm_start_seconds",
                )  # fmt: skip
            report(took)
            time.sleep(0.2)

    def _why(self) -> str:
        return f"{cause(Path(self._log.name).read_text('utf8', 'replace'))} ({self._log.name})"

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.address.port, timeout=5)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            response.read()  # hung up on, it might write into its log that we have
            return response.status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def cause(log: str) -> str:
    r"""What a log says went wrong: its first error that is not about another one, else its end.

    >>> cause("(core) ValueError: no room\\n(api) RuntimeError: Engine core initialization failed.")
    'ValueError: no room'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [found[0] for line in lines if (found := _CAUSE.search(line))]
    first = next((line for line in errors if not any(text in line for text in _AFTERMATH)), None)
    return (first or " | ".join(lines)[-_SHOWN:])[:_SHOWN]


def require() -> None:
    """Refuse to go on without vLLM, before anything is loaded.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "infer_backend", got="vllm, which is not installed", need="the package vllm",
            hint='pip install "tunesmith[vllm]", or infer_backend: huggingface',
        )  # fmt: skip


def _line(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line."""
    words: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        flag = name.replace("_", "-")
        words.append(f"--no-{flag}" if value is False else f"--{flag}")
        if isinstance(value, dict):
            words.append(json.dumps(value))
        elif not isinstance(value, bool):
            words += [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
    return words


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except OSError:
        return False
    return Path("/proc").exists()
