"""Answers of one HTTP request: submitted together, read as they come, let go of in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from tunesmith.errors import Error
from tunesmith.infer.request import Delta, Stream
from tunesmith.serve.figures import Figures
from tunesmith.serve.refusal import Refusal
from tunesmith.serve.said import Answer
from tunesmith.serve.served import Served
from tunesmith.serve.talk import Wanted


class Room:
    """How many answers are under way or wait, over all requests.

    Args:
        served: its limits and engine.
        places: answers that are computed at once.
    """

    def __init__(self, served: Served, places: int) -> None:
        self._most, self._engine = served.limits.waiting + places, served.engine
        self.taken = 0
        self.closing = False

    def take(self, count: int) -> None:
        """Places for so many answers.

        Raises:
            Refusal: there are none.
        """
        if self.closing:
            raise Refusal("the server is shutting down", status=503, kind="server_error")
        if gone := self._engine.gone:
            raise Refusal(f"the engine is gone: {gone}", status=503, kind="server_error")
        if self.taken + count > self._most:
            raise Refusal(
                f"{self.taken} answers are under way or wait, at most {self._most} do",
                status=429, kind="rate_limit_error", headers={"Retry-After": "2"},
            )  # fmt: skip
        self.taken += count


class Job:
    """One HTTP request's answers.

    Args:
        wanted: for each prompt.
        served: who answers.
        room: where they need places.
        figures: where they are counted.
    """

    def __init__(
        self, wanted: Sequence[Wanted], served: Served, room: Room, figures: Figures
    ) -> None:
        self._served, self._room, self._figures = served, room, figures
        self.prompts = sum(len(each.requests[0].prompt_ids) for each in wanted)
        pairs = [(request, each.style) for each in wanted for request in each.requests]
        self.answers = [
            Answer(number, request, style, served.backend)
            for number, (request, style) in enumerate(pairs)
        ]
        room.take(len(self.answers))

    async def deltas(self) -> AsyncGenerator[tuple[Answer, Delta], None]:
        """All deltas of all answers, as they come; let go of when nobody listens any more.

        Raises:
            Refusal: the engine could not go on.
        """
        loop, came = asyncio.get_running_loop(), asyncio.Queue()
        begun, streams = time.monotonic(), list[Stream]()
        left = len(self.answers)
        try:
            for answer in self.answers:

                def hear(said: Delta | Error, answer: Answer = answer) -> None:
                    loop.call_soon_threadsafe(came.put_nowait, (answer, said))

                streams.append(self._served.engine.submit(answer.request, hear))
            self._figures.prompt_tokens.inc(self.prompts)
            while left:
                answer, said = await came.get()
                if isinstance(said, Error):
                    status = 503 if self._served.engine.gone else 500
                    raise Refusal(said.line(), status=status, kind="server_error")
                if said.tokens and not answer.tokens:
                    self._figures.first_token.observe(time.monotonic() - begun)
                self._figures.completion_tokens.inc(len(said.tokens))
                if said.finish:
                    left -= 1
                    self._figures.finished.labels(said.finish).inc()
                    self._figures.answer_seconds.observe(time.monotonic() - begun)
                yield answer, said
        except Error as error:
            raise Refusal.of(error) from None
        finally:
            for stream in streams if left else ():
                stream.cancel()
            self._room.taken -= len(self.answers)
