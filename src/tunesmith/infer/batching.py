"""Continuous batching: requests come and go between any two tokens of each other.

One thread owns the model. Each of its turns adds one token to every answer under way and, in the
same pass over the weights, chunks of new prompts. Chunks begin at fixed places of their prompt, and
passes treat requests apart (`infer.forward`), so an answer does not depend on who else is being
answered.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import groupby
from typing import Any, TypeVar

import tokenizers

from tunesmith.errors import Error, ModelError
from tunesmith.infer.forward import Forward, Plain, forward_for
from tunesmith.infer.hf import answering
from tunesmith.infer.request import Delta, Finish, Request
from tunesmith.infer.row import Row

SLOTS = 16
"""Answers under way at once."""
CHUNK = 512
"""Tokens of new prompts in one pass, at most."""
HELD = 65_536
"""Tokens of prompts and answers that are kept at once, as many as each may become."""

T = TypeVar("T")
Switch = Callable[[], AbstractContextManager[Any]]
"""Puts an adapter to work for a pass."""


class Waiting:
    """A request that was taken: its deltas, as they come. See `request.Stream`."""

    def __init__(self, row: Row, on_delta: Callable[[Delta | Error], None] | None) -> None:
        self.row, self.cancelled = row, False
        self.state: Any = None
        self.done = 0  # tokens of the prompt that are computed
        self._queue: queue.SimpleQueue[Delta | Error] = queue.SimpleQueue()
        self._give = on_delta or self._queue.put

    def give(self, said: Delta | Error) -> None:
        """Hand something to whoever waits."""
        with suppress(Exception):  # who does not want to hear it does not stop the others
            self._give(said)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.cancelled = True

    def __iter__(self) -> Iterator[Delta]:
        """Deltas to the last one."""
        while True:
            said = self._queue.get()
            if isinstance(said, Error):
                raise said
            yield said
            if said.finish:
                return


class Batching:
    """Answers many requests at once. See `request.ServingEngine`.

    Args:
        model: a causal language model of transformers on one device.
        backend: makes text of ids.
        stop_ids: end an answer, where its request does not say what does.
        stop_texts: end every answer.
        slots: answers under way at once.
        chunk: tokens of new prompts in one pass, at most.
        held: tokens that are kept at once; a request that needs more is answered alone.
        adapters: by name, what puts one to work for the time of a pass.
        forward: how passes are computed; found for the model when not given.
    """

    def __init__(
        self,
        model: Any,
        backend: tokenizers.Tokenizer,
        *,
        stop_ids: Collection[int],
        stop_texts: Sequence[str] = (),
        slots: int = SLOTS,
        chunk: int = CHUNK,
        held: int = HELD,
        adapters: Mapping[str, Switch] | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._model, self._backend = model, backend
        self._stop_ids, self._stop_texts = stop_ids, tuple(stop_texts)
        self._slots, self._chunk, self._held = slots, chunk, held
        self._adapters: dict[str | None, Switch] = {None: nullcontext}
        self._adapters.update(adapters or {})
        self._forward = forward or forward_for(model)
        self._alone = Plain(model)
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._waiting: deque[Waiting] = deque()
        self._active: list[Waiting] = []
        self._asides: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a request may ask for."""
        return tuple(name for name in self._adapters if name is not None)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; `None`: no limit is known."""
        config = self._model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None)

    @property
    def load(self) -> tuple[int, int]:
        """(answers under way, requests that wait)."""
        return len(self._active), len(self._waiting)

    @property
    def gone(self) -> str | None:
        """Why it will answer no more; `None`: it answers."""
        return None if self._thread.is_alive() or self._closing else "its thread has ended"

    def submit(
        self, request: Request, on_delta: Callable[[Delta | Error], None] | None = None
    ) -> Waiting:
        """Take a request; any thread.

        Args:
            request: what is wanted.
            on_delta: called with each delta or the error, in the thread of the engine, in place
                of the iterator; it must return at once.

        Raises:
            ModelError: the prompt is empty, leaves no room in the context or has ids that the
                model does not; no such adapter; the engine is closed.
        """
        row = Row(
            request,
            self._backend,
            room=self._room(request),
            stop_ids=self._stop_ids if request.stop_ids is None else request.stop_ids,
            stop_texts=self._stop_texts,
        )
        taken = Waiting(row, on_delta)
        with self._changed:
            if self._closing:
                raise _closed()
            self._waiting.append(taken)
            self._changed.notify()
        return taken

    def between(self, work: Callable[[], T], adapter: str | None = None) -> Future[T]:
        """Do something with the model between two turns, an adapter at work; any thread.

        Raises:
            ModelError: the engine is closed.
        """
        done: Future[T] = Future()

        def do() -> None:
            try:
                with self._adapters[adapter]():
                    done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        with self._changed:
            if self._closing:
                raise _closed()
            self._asides.append(do)
            self._changed.notify()
        return done

    def close(self) -> None:
        """End what is under way as `cancelled` and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _room(self, request: Request) -> int:
        """How many tokens the answer may have."""
        if request.adapter not in self._adapters:
            raise ModelError("adapter", got=request.adapter, need=f"one of {self.adapters}")
        count, context = len(request.prompt_ids), self.context
        if not count:
            raise ModelError("prompt", got="0 tokens", need="at least one token")
        ids = (*request.prompt_ids, *request.sampling.logit_bias)
        outside = next((i for i in ids if not 0 <= i < self._vocabulary), None)
        if outside is not None:
            raise ModelError("token id", got=outside, need=f"0 to {self._vocabulary - 1}")
        if context is not None and count >= context:
            raise ModelError(
                "prompt",
                got=f"{count} tokens",
                need=f"fewer than the model's context of {context} tokens",
                hint="shorten the conversation",
            )
        wanted = request.sampling.max_new_tokens
        return wanted if context is None else min(wanted, context - count)

    def _run(self) -> None:
        with answering(self._model):
            while True:
                with self._changed:
                    while not (self._closing or self._waiting or self._active or self._asides):
                        self._changed.wait()
                    asides, self._asides = self._asides, []
                    if self._closing:
                        left = [*self._active, *self._waiting]
                        self._active, self._waiting = [], deque()
                        break
                for work in asides:
                    work()
                self._turn()
        for work in asides:
            work()
        for each in left:
            each.give(each.row.end("cancelled"))

    def _turn(self) -> None:
        """Let go, let in, a token for everybody, and chunks of new prompts in the same passes."""
        self._let_go()
        self._let_in()
        left, going = self._chunk, list[tuple[Waiting, Sequence[int]]]()
        for each in self._active:
            if _begun(each):
                going.append((each, [each.row.ids[-1]]))
                continue
            if each.row.asked.seen is not None:  # media and their places go in one pass
                going.append((each, each.row.asked.prompt_ids))
                continue
            ids = each.row.asked.prompt_ids[each.done : each.done + self._chunk]
            # a chunk is never cut to what is left: where it ends would depend on the others
            if left == self._chunk or len(ids) <= left:
                going.append((each, ids))
                left -= len(ids)
        going.sort(key=lambda pair: _kind(pair[0]))
        for _, pairs in groupby(going, key=lambda pair: _kind(pair[0])):
            group, ids = zip(*pairs, strict=True)
            if self._forward.together and group[0].row.asked.seen is None:
                self._pass(group, ids)
                continue
            for each, new in zip(group, ids, strict=True):
                self._pass([each], [new])
        self._active = [each for each in self._active if each.row.finish is None]

    def _pass(self, group: Sequence[Waiting], ids: Sequence[Sequence[int]]) -> None:
        """One forward pass, and a token for those whose prompt is complete."""
        try:
            with self._adapters[group[0].row.asked.adapter]():
                added = [(each.state, new) for each, new in zip(group, ids, strict=True)]
                seen = group[0].row.asked.seen
                logits = (self._alone if seen else self._forward).extend(added)
        except Exception as error:
            if len(group) == 1:  # of this request; the others may be answered
                return self._fail(group, error)
            for each, new in zip(group, ids, strict=True):
                self._pass([each], [new])
            return
        for each, new, logits_V in zip(group, ids, logits, strict=True):
            each.done = min(each.done + len(new), len(each.row.asked.prompt_ids))
            if not _begun(each):
                continue
            try:
                each.give(each.row.take(logits_V))
            except Exception as error:
                self._fail([each], error)

    def _fail(self, group: Sequence[Waiting], error: Exception) -> None:
        told = error if isinstance(error, Error) else None
        if told is None:
            got = " ".join(f"{type(error).__name__}: {error}".split())
            told = ModelError("answer", got=got, need="a model that can go on")
        for each in group:
            if each.row.finish is None:
                each.row.end("cancelled")
                each.give(told)
        self._active = [each for each in self._active if each.row.finish is None]

    def _let_go(self) -> None:
        """End those that nobody waits for, or waits for no longer."""
        now = time.monotonic()
        with self._changed:
            for each in (*self._active, *self._waiting):
                ended = _why_over(each, now)
                if ended:
                    each.give(each.row.end(ended))
            self._active = [each for each in self._active if each.row.finish is None]
            self._waiting = deque(each for each in self._waiting if each.row.finish is None)

    def _let_in(self) -> None:
        with self._changed:
            while self._waiting and len(self._active) < self._slots:
                size = sum(map(_size, self._active)) + _size(self._waiting[0])
                if self._active and size > self._held:
                    return
                new = self._waiting.popleft()
                seen = new.row.asked.seen
                new.state = self._alone.begin(seen) if seen else self._forward.begin()
                self._active.append(new)


def _closed() -> ModelError:
    return ModelError("request", got="an engine that is closed", need="one that answers")


def _kind(each: Waiting) -> tuple[str, bool]:
    """Requests of one kind may share a pass."""
    asked = each.row.asked
    return asked.adapter or "", asked.seen is not None


def _begun(each: Waiting) -> bool:
    """Whether its whole prompt is computed."""
    return each.done == len(each.row.asked.prompt_ids)


def _size(each: Waiting) -> int:
    """Tokens that it may come to keep."""
    return len(each.row.asked.prompt_ids) + each.row.room


def _why_over(each: Waiting, now: float) -> Finish | None:
    if each.cancelled:
        return "cancelled"
    deadline = each.row.asked.deadline
    return "deadline" if deadline is not None and now >= deadline else None
