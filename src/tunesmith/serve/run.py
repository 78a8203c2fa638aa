"""A server from its first line to its last answer."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tunesmith.errors import ConfigError
from tunesmith.serve.app import build
from tunesmith.serve.served import Served

_DRAIN_SECONDS = 60
"""Answers under way get so long to end once the server is told to stop."""
_BACKLOG = 512


def choose_token(host: str, given: str | None) -> tuple[str, bool]:
    """(the token that requests must bring, whether it was made here).

    Args:
        host: where the server listens.
        given: by the user.

    Raises:
        ConfigError: other machines could reach the server and nobody chose a token; a token
            that no header can carry.
    """
    if given is not None:
        if not given or not given.isascii() or not given.isprintable() or " " in given:
            raise ConfigError(
                "command line: --api-key", got="a key with spaces or other characters than ASCII",
                need="letters, digits, signs", hint="openssl rand -hex 24 makes one",
            )  # fmt: skip
        return given, False
    if not is_loopback(host):
        raise ConfigError(
            f"command line: --host {host}", got="an address that other machines reach, no token",
            need="a token that you chose", hint="--api-key KEY, or TUNESMITH_API_KEY=KEY",
        )  # fmt: skip
    return secrets.token_urlsafe(24), True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """The socket to listen on; port 0: a free one.

    Raises:
        ConfigError: the address is taken, or none of this machine's.
    """
    made = None
    try:
        if not 0 <= port < 1 << 16:
            raise OverflowError("no such port")
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = info[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        if made is not None:
            made.close()
        raise ConfigError(
            f"command line: --host {host} --port {port}", got=str(error),
            need="a free address of this machine", hint="--port 0 takes a free port",
        ) from None  # fmt: skip
    return made


def run(
    served: Served,
    listening: socket.socket,
    *,
    token: str | None,
    places: int,
    started: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then let answers under way end.

    Args:
        served: what is served.
        listening: see `bind`.
        token: see `choose_token`.
        places: answers that are computed at once.
        started: told the address once requests are taken.
    """
    app, room = build(served, token=token, places=places)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        backlog=_BACKLOG,
        server_header=False,
    )
    server = Server(config, room, started)
    try:
        asyncio.run(server.serve(sockets=[listening]))
    finally:
        listening.close()
        served.engine.close()


class Server(uvicorn.Server):
    """Says when it takes requests, and takes no new ones while it drains."""

    def __init__(self, config: uvicorn.Config, room: Any, started: Callable[[str], None]) -> None:
        super().__init__(config)
        self._room, self._started = room, started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal drains the server and is not raised again afterwards: that is a good end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        former = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say where."""
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        self._started(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is new, and wait for what is under way.

        The socket stays open meanwhile: a client, or what spreads requests over servers, is told
        by 503 and asks elsewhere.
        """
        self._room.closing = True
        end = time.monotonic() + _DRAIN_SECONDS
        while self._room.taken and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(0.05)
        left = math.ceil(max(end - time.monotonic(), 1))  # for what is still being sent
        self.config.timeout_graceful_shutdown = left
        await super().shutdown(sockets)
