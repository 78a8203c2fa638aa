"""vLLM as an engine: token ids to its `/v1/completions` and token ids back.

It runs in a process of its own (`vllm_process`), over the weights that we would load. Prompts are
our ids, so trained ids are served ids; what ends an answer, what is text and what is a call is
decided here, by the same code as for our own engine.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NamedTuple

import tokenizers

from tunesmith.errors import Error, ModelError
from tunesmith.infer.grammar import Made
from tunesmith.infer.request import Delta, Finish, Request, Token
from tunesmith.infer.row import Row

_NAME = "token_id:"
"""How vLLM writes a token where it is asked for ids in place of text."""


_DYING_SECONDS = 5


class Address(NamedTuple):
    """Where a server listens, on this machine."""

    port: int
    key: str
    """Its bearer token."""


class Asking:
    """A request on its way: its deltas, as they come. See `request.Stream`."""

    def __init__(self, row: Row, on_delta: Callable[[Delta | Error], None] | None) -> None:
        self.row, self.cancelled = row, False
        self.connection: HTTPConnection | None = None
        self._queue: queue.SimpleQueue[Delta | Error] = queue.SimpleQueue()
        self._give = on_delta or self._queue.put

    def give(self, said: Delta | Error) -> None:
        """Hand something to whoever waits."""
        with suppress(Exception):  # who does not want to hear it does not stop the others
            self._give(said)

    def cancel(self) -> None:
        """Nobody waits for it any more; vLLM frees its place when the connection is gone."""
        self.cancelled = True
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection, whoever reads from it."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(2)

    def __iter__(self) -> Iterator[Delta]:
        """Deltas to the last one."""
        while True:
            said = self._queue.get()
            if isinstance(said, Error):
                raise said
            yield said
            if said.finish:
                return


class Vllm:
    """Answers by a vLLM server. See `request.ServingEngine`.

    Args:
        address: of the server.
        backend: makes text of ids.
        models: its names of models by our names of adapters; `None`: the usual one.
        stop_ids: end an answer, where its request does not say what does.
        stop_texts: end every answer.
        context: tokens of prompt and answer together.
        died: what to tell if the server is gone; `None`: it lives.
        end: ends the server.
    """

    def __init__(
        self,
        address: Address,
        backend: tokenizers.Tokenizer,
        *,
        models: Mapping[str | None, str],
        stop_ids: Collection[int],
        stop_texts: Sequence[str] = (),
        context: int | None,
        died: Callable[[], str | None] = lambda: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._address, self._backend, self._models = address, backend, dict(models)
        self._stop_ids, self._stop_texts, self._context = stop_ids, tuple(stop_texts), context
        self._died, self._end = died, end
        self._going: set[Asking] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a request may ask for."""
        return tuple(name for name in self._models if name is not None)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; `None`: no limit is known."""
        return self._context

    @property
    def load(self) -> tuple[int, int]:
        """(answers under way, requests that wait); which of them wait only vLLM knows."""
        return len(self._going), 0

    @property
    def gone(self) -> str | None:
        """Why it will answer no more; `None`: it answers."""
        return self._died()

    def submit(
        self, request: Request, on_delta: Callable[[Delta | Error], None] | None = None
    ) -> Asking:
        """Take a request; any thread. See `Batching.submit`.

        Raises:
            ModelError: the prompt is empty or leaves no room in the context; no such adapter; a
                grammar that vLLM cannot be told; the engine is closed.
        """
        stops = self._stop_ids if request.stop_ids is None else request.stop_ids
        row = Row(
            request, self._backend, room=self._room(request), stop_ids=stops,
            stop_texts=self._stop_texts,
        )  # fmt: skip
        asking = Asking(row, on_delta)
        said = self._said(request, row.room, stops)
        with self._lock:
            if self._closed:
                raise ModelError("request", got="an engine that is closed", need="one that answers")
            self._going.add(asking)
        threading.Thread(target=self._answer, args=(asking, said), daemon=True).start()
        return asking

    def close(self) -> None:
        """End what is under way, and the server."""
        with self._lock:
            self._closed = True
            going = list(self._going)
        for asking in going:
            asking.cancel()
        self._end()

    def _room(self, request: Request) -> int:
        if request.adapter not in self._models:
            raise ModelError("adapter", got=request.adapter, need=f"one of {self.adapters}")
        count, wanted = len(request.prompt_ids), request.sampling.max_new_tokens
        if not count:
            raise ModelError("prompt", got="0 tokens", need="at least one token")
        if self._context is None:
            return wanted
        if count >= self._context:
            raise ModelError(
                "prompt", got=f"{count} tokens",
                need=f"fewer than the model's context of {self._context} tokens",
                hint="shorten the conversation",
            )  # fmt: skip
        return min(wanted, self._context - count)

    def _said(self, request: Request, room: int, stops: Collection[int]) -> dict[str, Any]:
        """The request in vLLM's words; everything is said, so that no default of its own counts."""
        how = request.sampling
        said: dict[str, Any] = {
            "model": self._models[request.adapter],
            "prompt": list(request.prompt_ids),
            "max_tokens": room,
            "stream": True,
            "temperature": how.temperature if how.do_sample else 0.0,
            "top_p": how.top_p if how.do_sample else 1.0,
            "top_k": (how.top_k or -1) if how.do_sample else -1,
            "min_p": how.min_p if how.do_sample else 0.0,
            "repetition_penalty": how.repetition_penalty,
            "presence_penalty": how.presence_penalty,
            "frequency_penalty": how.frequency_penalty,
            "seed": how.seed % 2**63,
            "ignore_eos": True,  # what ends an answer is in stop_token_ids, nothing else
            "stop_token_ids": sorted(stops),
            "skip_special_tokens": False,
            "return_token_ids": True,
        }
        if how.logit_bias:
            said["logit_bias"] = {str(number): bias for number, bias in how.logit_bias.items()}
        if request.logprobs is not None:
            said |= {"logprobs": request.logprobs, "return_tokens_as_token_ids": True}
        if request.grammar is not None:
            if not isinstance(request.grammar, Made):
                raise ModelError(
                    "infer_backend: vllm", got="a grammar that begins behind a thought",
                    need="one that holds from the first token on",
                    hint="infer_backend: huggingface, or thinking turned off",
                )  # fmt: skip
            said["structured_outputs"] = dict(request.grammar.told)
        return said

    def _answer(self, asking: Asking, said: dict[str, Any]) -> None:
        """Read one answer to its end; runs in a thread of its own."""
        deadline = asking.row.asked.deadline
        try:
            self._read(asking, said)
            if asking.row.finish is None:
                over = _why_over(asking, deadline) or ("cancelled" if self._closed else None)
                if over is None:  # an answer cut off is none
                    raise ConnectionError("the answer broke off")
                asking.give(asking.row.end(over))
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            over = _why_over(asking, deadline)
            if over or self._closed:
                asking.give(asking.row.end(over or "cancelled"))
            elif asking.row.finish is None:
                asking.give(self._explained(error))
        except Error as error:
            asking.give(error)
        finally:
            asking.hang_up()
            if asking.connection is not None:
                asking.connection.close()
            with self._lock:
                self._going.discard(asking)

    def _read(self, asking: Asking, said: dict[str, Any]) -> None:
        deadline = asking.row.asked.deadline
        left = None if deadline is None else max(0.01, deadline - time.monotonic())
        connection = HTTPConnection("127.0.0.1", self._address.port, timeout=left)
        asking.connection = connection
        headers = {
            "Authorization": f"Bearer {self._address.key}",
            "Content-Type": "application/json",
        }
        connection.request("POST", "/v1/completions", json.dumps(said), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refused(response.status, response.read(100_000))
        for event in _events(response):
            for delta in _deltas(asking.row, event, said):
                asking.give(delta)
                if delta.finish:
                    return
            if asking.cancelled or (deadline is not None and time.monotonic() >= deadline):
                return

    def _explained(self, error: Exception) -> ModelError:
        until = time.monotonic() + _DYING_SECONDS  # the connection goes before the process
        while (died := self._died()) is None and time.monotonic() < until:
            time.sleep(0.05)
        got = died or " ".join(f"{type(error).__name__}: {error}".split())
        return ModelError("vllm", got=got, need="a server that answers")


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """What a stream of server-sent events says, one after the other."""
    for line in response:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)


def _deltas(row: Row, event: dict[str, Any], said: Mapping[str, Any]) -> Iterator[Delta]:
    """What an event adds to an answer."""
    if "error" in event:
        raise _refused(500, json.dumps(event).encode())
    for choice in event.get("choices", ()):
        for token in _tokens(choice, alternatives=said.get("logprobs")):
            delta = row.add(token)
            yield delta
            if delta.finish:
                return
        reason = choice.get("finish_reason")
        if reason and row.finish is None:
            if reason not in ("stop", "length"):
                raise ModelError(
                    "vllm", got=f"an answer that ended by {reason}", need="a whole one"
                )
            yield row.end(reason)
            return


def _tokens(choice: Mapping[str, Any], *, alternatives: int | None) -> Iterator[Token]:
    ids = choice.get("token_ids") or []
    if alternatives is None:
        yield from map(Token, ids)
        return
    told = choice.get("logprobs") or {}
    values, tops = told.get("token_logprobs") or [], told.get("top_logprobs") or []
    for place, number in enumerate(ids):
        value = values[place] if place < len(values) else None
        top = tops[place] if place < len(tops) else None
        pairs = [(int(name.removeprefix(_NAME)), score) for name, score in (top or {}).items()]
        best = tuple(sorted(pairs, key=lambda pair: -pair[1]))
        yield Token(number, value, best[:alternatives])  # vLLM adds the token that was drawn


def _refused(status: int, body: bytes) -> ModelError:
    """What vLLM says where it does not answer."""
    said = " ".join(body.decode(errors="replace").split())
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        found = json.loads(body)
        said = str((found.get("error") or found).get("message", said))
    return ModelError("vllm", got=f"{status}: {said[:300]}", need="a request that it takes")


def _why_over(asking: Asking, deadline: float | None) -> Finish | None:
    if asking.cancelled:
        return "cancelled"
    return "deadline" if deadline is not None and time.monotonic() >= deadline else None
