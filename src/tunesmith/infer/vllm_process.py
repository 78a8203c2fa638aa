"""vLLM's server as a child: started, waited for, watched, ended with everything it has started."""

from __future__ import annotations

import importlib.util
import json
import os
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
"""Characters of its last lines, where the reason stands."""
_GRACE_SECONDS = 20


class Child:
    """A server of vLLM that is ours.

    Args:
        options: of its command line, by name; true stands alone, false as `--no-…`; a mapping is
            JSON; none is left out.
        report: told how long it has been starting; may be called often.

    Raises:
        ConfigError: vLLM is not there.
        ModelError: it ended before it answered; with its last lines.
    """

    def __init__(
        self, options: Mapping[str, Any], *, report: Callable[[float], None] = lambda seconds: None
    ) -> None:
        require()
        self.address = Address(_free_port(), secrets.token_urlsafe(24))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
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
            self._wait(report)
        except BaseException:
            self.end()
            raise

    def died(self) -> str | None:
        """Its last lines, if it has ended; `None`: it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        told = " | ".join(line.strip() for line in lines if line.strip())
        return f"vLLM ended with {code}: {told[-_SHOWN:]}"

    def end(self) -> None:
        """End it and all that it has started; returns when they are gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
                if number == signal.SIGKILL or not _group_lives(self._process.pid):
                    break
        self._log.close() if self._process.poll() is not None else None

    def _wait(self, report: Callable[[float], None]) -> None:
        began = time.monotonic()
        while not self._answers():
            died = self.died()
            if died:
                raise ModelError("infer_backend: vllm", got=died, need="a server that starts")
            report(time.monotonic() - began)
            time.sleep(0.2)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.address.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


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
