"""A server under load: is every answer the right one, and what is left over afterwards?

    python benchmarks/soak.py [--minutes 10] [--clients 32]

Clients ask for whole answers and streams, of chats and of plain texts, most probable tokens and
seeded draws, JSON and calls, with log-probabilities; a fifth of them leaves in the middle. Every
answer is compared with what the same request got while nobody else asked: text, end, counts, and
every log-probability to the last bit. Memory is that of the server: the median of the last fifth
of the time over the median of the second fifth. Exit status 1: something was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from clients import MODEL, WORDS, Client, Heard, Server, Wrong, ours, together

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "sure": {"type": "boolean"}},
    "required": ["name", "sure"],
    "additionalProperties": False,
}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "found", "schema": SCHEMA}}


class Question(NamedTuple):
    """A request that always gets the same answer."""

    path: str
    body: Mapping[str, Any]


class Found(NamedTuple):
    """What a soak has seen."""

    counts: Counter[str]
    """Answers, pieces of them that were left, and each kind of trouble."""
    troubles: list[str]
    seconds: list[float]
    """Of whole answers, from request to end."""
    mib: list[float]
    """Resident memory, once a second."""
    freed: float
    """Seconds from the leaving of the only client to the free place."""


def questions(seed: int, *, tokens: int, longest: int) -> list[Question]:
    """A mixture of requests.

    Args:
        seed: of its words.
        tokens: the longest answers.
        longest: words of the longest prompts.
    """
    draw = random.Random(seed)
    found = []
    for number in range(24):
        said = " ".join(draw.choices(WORDS, k=draw.choice((4, 12, 40, longest))))
        body: dict[str, Any] = {"max_tokens": draw.randint(1, tokens), "logprobs": True}
        how = ("greedy", "drawn", "greedy", "penalties")[number % 4]
        if how == "greedy":
            body["temperature"] = 0
        else:
            body |= {"temperature": 0.9, "top_p": 0.95, "seed": number}
        if how == "penalties":
            body |= {"frequency_penalty": 0.5, "repetition_penalty": 1.1, "stop": ["."], "n": 2}
        if number % 3 == 2:
            body["logprobs"] = 0
            found.append(Question("/completions", {**body, "prompt": said}))
            continue
        body["messages"] = [{"role": "user", "content": f"Say something about {said}."}]
        if number % 12 == 4:
            body["response_format"] = AS_JSON
        if number % 12 == 9:
            body |= {"tools": [TOOL], "tool_choice": "required"}
        found.append(Question("/chat/completions", body))
    return found


def soak(
    server: Server,
    asked: list[Question],
    *,
    clients: int,
    seconds: float,
    leaving: float = 0.2,
    alone: Mapping[int, Heard] | None = None,
) -> Found:
    """Ask for so many seconds, and compare.

    Args:
        server: that runs.
        asked: what is asked.
        clients: at once.
        seconds: how long.
        leaving: share of the requests that are left in the middle.
        alone: the answers to compare with; asked for first when not given.
    """
    client = server.client
    right = alone or {i: client.whole(*question) for i, question in enumerate(asked)}
    seen = Found(Counter(), [], [], [], _freed(client, asked[0]))
    visitors = Visitors(client, asked, right, leaving=leaving, seen=seen)
    end = time.monotonic() + seconds
    threads = together([lambda n=n: visitors.visit(n, end) for n in range(clients)])
    while any(thread.is_alive() for thread in threads):
        seen.mib.append(server.mib)
        time.sleep(min(1.0, seconds / 50))
    visitors.look_after()
    return seen


class Visitors:
    """Clients that ask, listen or leave, and compare.

    Args:
        client: of the server.
        asked: what is asked.
        right: the answers, by number.
        leaving: share of the requests that are left in the middle.
        seen: where it is noted.
    """

    def __init__(
        self,
        client: Client,
        asked: Sequence[Question],
        right: Mapping[int, Heard],
        *,
        leaving: float,
        seen: Found,
    ) -> None:
        self._client, self._asked, self._right = client, asked, right
        self._leaving, self._seen, self._lock = leaving, seen, threading.Lock()

    def visit(self, number: int, end: float) -> None:
        """One client, until the time is over."""
        draw = random.Random(number)
        while time.monotonic() < end:
            try:
                self._ask(draw)
            except (OSError, Wrong, ValueError, KeyError, HTTPException) as error:
                self._note("error", f"{type(error).__name__}: {error}")

    def look_after(self) -> None:
        """Nothing is left over, and it still answers."""
        deadline = time.monotonic() + 1
        while _load(self._client) and time.monotonic() < deadline:
            time.sleep(0.02)
        if _load(self._client):
            self._note("error", "answers that nobody waits for go on for more than a second")
        for number, question in enumerate(self._asked):
            if self._client.whole(*question) != self._right[number]:
                self._note("other", f"{number}, after everybody has left")

    def _ask(self, draw: random.Random) -> None:
        number = draw.randrange(len(self._asked))
        question, streams = self._asked[number], draw.random() < 0.5
        begun = time.monotonic()
        if draw.random() < self._leaving:
            if not streams:
                self._client.left(*question, after=draw.random())
            elif self._client.streamed(*question, leave_after=draw.randint(1, 12)):
                return self._note("ended before it was left")
            return self._note("left")
        heard = (self._client.streamed if streams else self._client.whole)(*question)
        kind = "streamed" if streams else "whole"
        if heard != self._right[number]:
            return self._note("other", f"{kind} {number}: {heard}, alone {self._right[number]}")
        return self._note(kind, taken=time.monotonic() - begun)

    def _note(self, kind: str, said: str = "", taken: float | None = None) -> None:
        with self._lock:
            self._seen.counts[kind] += 1
            if said:
                self._seen.troubles.append(f"{kind}: {said}")
            if taken is not None:
                self._seen.seconds.append(taken)


def _load(client: Client) -> float:
    return client.figure("tunesmith_answers_active") + client.figure("tunesmith_answers_waiting")


def _freed(client: Client, question: Question) -> float:
    """Seconds from leaving to the free place."""
    path, body = question
    long = {"max_tokens": 50_000, "logit_bias": {}, "temperature": 2}
    client.streamed(path, {**body, **long}, leave_after=3)
    left = time.monotonic()
    while _load(client):
        if time.monotonic() - left > 30:
            raise Wrong("a place is not free 30 s after its client has left")
        time.sleep(0.005)
    return time.monotonic() - left


def growth(mib: list[float]) -> float:
    """Of the memory, in percent: the last fifth over the second."""
    part = max(len(mib) // 5, 1)
    return 100 * (statistics.median(mib[-part:]) / statistics.median(mib[part : 2 * part]) - 1)


def main() -> None:
    """Print what a soak has seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--template", default="qwen", help="one that shows tools")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--longest", type=int, default=600, help="words of a prompt")
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    mixture = questions(11, tokens=asked.tokens, longest=asked.longest)
    keys = {"template": asked.template}
    with tempfile.TemporaryDirectory() as name:
        context = ours(asked.model, Path(name), threads=asked.threads, slots=asked.slots, keys=keys)
        with context as server:
            found = soak(server, mixture, clients=asked.clients, seconds=60 * asked.minutes)
            status = server.end()
        log = (Path(name) / "tunesmith.txt").read_text(encoding="utf8")
    print(f"{asked.clients} clients, {asked.minutes} minutes: {dict(found.counts)}")
    if len(found.seconds) > 1:
        middle, slow = (statistics.quantiles(found.seconds, n=20)[i] for i in (9, 18))
        print(f"an answer: {middle:.2f} s, the slowest of 20: {slow:.2f} s")
    print(f"memory: {found.mib[-1]:.0f} MiB, growth {growth(found.mib):+.2f} %")
    print(f"a place is free {1000 * found.freed:.0f} ms after its client has left")
    print(f"SIGTERM: exit status {status}")
    for trouble in found.troubles[:10]:
        print(trouble)
    if found.troubles or status:
        sys.exit(log[-2000:])


if __name__ == "__main__":
    main()
