"""Before a request is read: who asks, and how much is sent."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tunesmith.serve.figures import Figures
from tunesmith.serve.refusal import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN = ("/health",)
"""Paths that need no token."""


class Guard:
    """ASGI around an app: 401 without the token, 413 beyond the cap, and counts.

    Args:
        app: what is guarded.
        token: that requests must bring; `None`: none is needed.
        body_bytes: the most that one may send.
        figures: where answers are counted.
    """

    def __init__(self, app: Any, *, token: str | None, body_bytes: int, figures: Figures) -> None:
        self._app, self._body_bytes, self._figures = app, body_bytes, figures
        self._wanted = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, begun = scope["path"], False

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                known = path if message["status"] not in (404, 401) else "other"
                self._figures.requests.labels(known, message["status"]).inc()
            await send(message)

        headers = dict(scope["headers"])
        if path not in OPEN and not self._allowed(headers):
            refused = Refusal(
                "the header Authorization: Bearer TOKEN is missing or names another token; the "
                "server printed it when it started", status=401, kind="authentication_error",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
            await respond(counted, refused)
            return
        try:
            await self._app(scope, self._capped(headers, receive), counted)
        except Refusal as refusal:
            if begun:
                raise
            await respond(counted, refusal)

    def _allowed(self, headers: dict[bytes, bytes]) -> bool:
        given = headers.get(b"authorization", b"")
        return self._wanted is None or hmac.compare_digest(given, self._wanted)

    def _capped(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        too_much = Refusal(f"a body has at most {self._body_bytes:,} bytes", status=413)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._body_bytes:
            raise too_much
        got = 0

        async def capped() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._body_bytes:
                raise too_much
            return message

        return capped


async def respond(send: Send, refusal: Refusal) -> None:
    """Answer with an error."""
    body = json.dumps(refusal.body(), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(k.lower().encode(), v.encode()) for k, v in (refusal.headers or {}).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
