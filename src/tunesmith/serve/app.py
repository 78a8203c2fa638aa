"""The routes: what OpenAI's clients call, and what watches a server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from tunesmith import __version__
from tunesmith.serve import talk
from tunesmith.serve.answering import Job, Room
from tunesmith.serve.asked import ChatBody, CompletionBody, Drawn, EmbeddingBody
from tunesmith.serve.figures import Figures
from tunesmith.serve.guard import Guard
from tunesmith.serve.refusal import Refusal, of_validation
from tunesmith.serve.said import Response, usage
from tunesmith.serve.served import Served

T = TypeVar("T")

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "something of the request cannot be honoured"},
    401: {"description": "no token, or another one"},
    404: {"description": "no such model"},
    413: {"description": "too much is sent"},
    429: {"description": "too many answers wait"},
    503: {"description": "the server is shutting down, or its engine is gone"},
}
_KNOWN = {
    name: [field.alias or key for key, field in body.model_fields.items()]
    for name, body in (
        ("chat", ChatBody), ("completion", CompletionBody), ("embedding", EmbeddingBody),
    )
}  # fmt: skip


def build(served: Served, *, token: str | None, places: int) -> tuple[Any, Room]:
    """The ASGI app, and the room that is closed to drain it.

    Args:
        served: what is served.
        token: that requests must bring; `None`: none.
        places: answers that are computed at once.
    """
    app = FastAPI(title="Tunesmith", version=__version__, docs_url=None, redoc_url=None,
        redirect_slashes=False,  # a redirect is no error in OpenAI's shape
    )  # fmt: skip
    figures, room = Figures(), Room(served, places)
    _tell_errors(app)
    secured = {"dependencies": [Depends(HTTPBearer(auto_error=False))], "responses": _ERRORS}

    @app.get("/health")
    async def health() -> JSONResponse:
        if gone := served.engine.gone:
            return JSONResponse({"status": f"the engine is gone: {gone}"}, 503)
        if room.closing:
            return JSONResponse({"status": "shutting down"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", response_class=PlainTextResponse, **secured)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(figures.text(*served.engine.load))

    @app.get("/v1/models", **secured)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name) for name in served.models]}

    @app.get("/v1/models/{name:path}", **secured)
    async def model(name: str) -> dict[str, Any]:
        _known(served, name)
        return _model(name)

    @app.post("/v1/chat/completions", **secured)
    async def chat(body: ChatBody, request: Request) -> Any:
        name = _known(served, body.model)
        wanted = await asyncio.to_thread(talk.chat, body, served)
        job = Job([wanted], served, room, figures)
        return await _answer(body, Response("chat.completion", name), job, request)

    @app.post("/v1/completions", **secured)
    async def completions(body: CompletionBody, request: Request) -> Any:
        name = _known(served, body.model)
        wanted = await asyncio.to_thread(talk.completions, body, served)
        job = Job(wanted, served, room, figures)
        return await _answer(body, Response("text_completion", name), job, request)

    @app.post("/v1/embeddings", **secured)
    async def embeddings(body: EmbeddingBody) -> dict[str, Any]:
        name = _known(served, body.model)
        room.take(0)  # no place is needed, but a server that goes on
        return await asyncio.to_thread(_embedded, body, served, name)

    guarded = Guard(app, token=token, body_bytes=served.limits.body_bytes, figures=figures)
    return guarded, room


def _tell_errors(app: FastAPI) -> None:
    """Every error in one shape."""

    def tell(refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body(), refusal.status, headers=refusal.headers)

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return tell(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if "json" not in request.headers.get("content-type", ""):
            return tell(Refusal("the header Content-Type: application/json is missing"))
        return tell(of_validation(list(error.errors()), _KNOWN))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        kind = type(error).__name__  # what it says may hold what another client sent
        return tell(Refusal(f"{kind} in the server", status=500, kind="server_error"))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        place = f"{request.method} {request.url.path}"
        said = f"{place}: {error.detail}"
        return tell(Refusal(said, status=error.status_code, headers=error.headers))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tunesmith"}


def _known(served: Served, name: str | None) -> str:
    if name is None:
        return next(iter(served.models))
    if name not in served.models:
        known = ", ".join(served.models)
        raise Refusal(f"no model {name!r} here; there is {known}", "model", status=404)
    return name


async def _answer(body: Drawn, response: Response, job: Job, request: Request) -> Any:
    if not body.stream:
        return await _unless_left(_whole(response, job), request)
    counts = bool(body.stream_options and body.stream_options.include_usage)
    events = _events(response, job, counts=counts)
    # an engine that refuses does so with a status, and who leaves the queue gives up the place
    first = await _unless_left(anext(events), request)
    return StreamingResponse(_with(first, events), media_type="text/event-stream")


async def _unless_left(work: Awaitable[T], request: Request) -> T:
    """The result of some work, which ends where the client goes."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refusal("the client has left", status=499)
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _whole(response: Response, job: Job) -> dict[str, Any]:
    async for answer, delta in job.deltas():
        answer.take(delta)
    return response.whole(job.answers, job.prompts)


async def _left(request: Request) -> None:
    """Wait until nobody waits for the response."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(response: Response, job: Job, *, counts: bool) -> AsyncGenerator[bytes, None]:
    """Server-sent events of a stream."""
    begun = set()
    deltas = job.deltas()
    try:
        async for answer, delta in deltas:
            if answer.number not in begun:
                begun.add(answer.number)
                opening = response.begin(answer)
                if opening:
                    yield _event(opening)
            for chunk in response.step(answer, delta):
                yield _event(chunk)
    finally:
        await deltas.aclose()
    if counts:
        yield _event(response.chunk([], usage(job.answers, job.prompts)))
    yield b"data: [DONE]\n\n"


async def _with(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        try:
            async for event in rest:
                yield event
        except Refusal as refusal:  # the status has gone out already
            yield _event(refusal.body())
    finally:
        await rest.aclose()


def _event(said: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


def _embedded(body: EmbeddingBody, served: Served, name: str) -> dict[str, Any]:
    if served.embed is None:
        raise Refusal("this model has no embeddings", "model", status=404)
    prompts = talk.ids_of(body.input, served, "input")
    for number, prompt in enumerate(prompts):
        if served.engine.context is not None and len(prompt) > served.engine.context:
            place = f"input[{number}]"
            most = served.engine.context
            raise Refusal(f"{place} has {len(prompt)} tokens, at most {most} are read", place)
    adapter = served.models[name].adapter
    vectors = [np.asarray(served.embed(ids, adapter), dtype=np.float32) for ids in prompts]
    packed = body.encoding_format == "base64"
    data = [
        {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(v.tobytes()).decode() if packed else v.tolist(),
        }
        for number, v in enumerate(vectors)
    ]
    tokens = sum(map(len, prompts))
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": counts}
