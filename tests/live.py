"""A server that really listens, in a thread: for clients of every kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tunesmith.serve.app import build
from tunesmith.serve.run import bind
from tunesmith.serve.served import Served

TOKEN = "a-token-for-tests"


@contextmanager
def listening(served: Served, *, token: str | None = TOKEN, places: int = 16) -> Iterator[str]:
    """Its address, without /v1."""
    app, _ = build(served, token=token, places=places)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    server, listener = uvicorn.Server(config), bind("127.0.0.1", 0)
    listener.listen()  # whoever comes before it runs waits
    work = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    work.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        work.join()
        served.engine.close()
