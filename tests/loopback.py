"""A server on loopback that is closed with its block: the shell of the hubs that tests fake."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    """Answers without a word on stderr, and to HEAD without a body."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.head(status, len(content), headers or {})
        if self.command != "HEAD":
            self.wfile.write(content)

    def head(self, status: int, length: int, headers: dict[str, str]) -> None:
        """What stands before `length` bytes."""
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(key, value)
        self.end_headers()


class Loopback:
    """Serves at `url` until its block is left."""

    def __init__(self, handler: type[Handler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def git_sha1(content: bytes) -> str:
    """What git calls a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
