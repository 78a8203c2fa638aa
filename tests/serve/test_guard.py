import asyncio
import hmac

from tunesmith.serve.figures import Figures
from tunesmith.serve.guard import Guard


def asked(guard, headers, path="/v1/models"):
    said = []

    async def send(message):
        said.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return said


async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})


def test_tokens_are_compared_in_a_time_that_does_not_depend_on_them(monkeypatch):
    compared = []
    real = hmac.compare_digest

    def watched(a, b):
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr("tunesmith.serve.guard.hmac.compare_digest", watched)
    guard = Guard(app, token="k", body_bytes=10, figures=Figures())
    assert asked(guard, [(b"authorization", b"Bearer x")])[0]["status"] == 401
    assert asked(guard, [(b"authorization", b"Bearer k")])[0]["status"] == 204
    assert compared == [(b"Bearer x", b"Bearer k"), (b"Bearer k", b"Bearer k")]


def test_a_length_that_is_no_number_is_counted_by_what_comes():
    guard = Guard(app, token=None, body_bytes=10, figures=Figures())
    assert asked(guard, [(b"content-length", b"many")])[0]["status"] == 204
    assert asked(guard, [(b"content-length", b"11")])[0]["status"] == 413


def test_paths_that_do_not_exist_do_not_fill_the_figures():
    figures = Figures()
    guard = Guard(app, token="k", body_bytes=10, figures=figures)
    for number in range(5):
        asked(guard, [], path=f"/{number}")
    assert b'path="other"' in figures.text(0, 0)
    assert b'path="/3"' not in figures.text(0, 0)
