"""What a model is asked of a data set: each row up to its last answer, as training saw it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.data.media.kept import identity
from tunesmith.data.token_store import Examples
from tunesmith.data.tokenize import encode
from tunesmith.errors import DataError
from tunesmith.templates import Renderer
from tunesmith.types import Conversation, Example, Media, Message, Origin, Tokenizer

_PROBE = Conversation((Message("user", "a"), Message("assistant", "b")))


class Question(NamedTuple):
    """One row."""

    prompt_ids: list[int]
    label_ids: list[int]
    """The answer that stands in the row, with what ends it."""
    origin: Origin
    media: tuple[Media, ...] = ()
    """Of the prompt, in the order of their places."""


class Tail(NamedTuple):
    """What some templates put behind an answer: text that is not learned, then the end that is."""

    gap: int
    """Tokens that are not learned."""
    ids: tuple[int, ...]
    """Those of the end."""


class Questions(Sequence[Question]):
    """The rows of a data set, each read when it is asked for.

    Args:
        examples: of the rows, without loss on their prompts.
        tail: of the template that wrote them; see `tail_of`.
    """

    def __init__(self, examples: Examples, tail: Tail | None = None) -> None:
        self._examples, self._tail = examples, tail
        rows = examples.records("row")
        # a row may teach each answer under a prompt of its own: the last one is asked
        self._last = np.flatnonzero(np.diff(rows, append=-1) != 0)

    def __len__(self) -> int:
        return len(self._last)

    def __getitem__(self, index: int) -> Question:  # type: ignore[override]
        return question(self._examples[int(self._last[index])], self._tail)

    def __iter__(self) -> Iterator[Question]:
        for index in range(len(self)):
            yield self[index]

    def fingerprint(self) -> str:
        """sha256 of what is asked, what stands there as answers, and where."""
        whole = hashlib.sha256()
        for one in self:
            ids = np.array([len(one.prompt_ids), *one.prompt_ids, *one.label_ids], "<i8")
            whole.update(f"{one.origin.dataset}\0{one.origin.row}\0{len(ids)}\0".encode())
            whole.update(ids.tobytes())
            for medium in one.media:
                whole.update(identity(medium))
        return whole.hexdigest()

    def room(self, context: int | None, wanted: int) -> int:
        """How many rows have less room for an answer than is wanted.

        Raises:
            DataError: a prompt leaves none.
        """
        if context is None:
            return 0
        full: list[Question] = []
        short = 0
        for one in self:
            left = context - len(one.prompt_ids)
            short += left < wanted
            full += [one] if left <= 0 else []
        if full:
            first = full[0]
            more = f"; {len(full):,} such rows" if len(full) > 1 else ""
            raise DataError(
                str(first.origin),
                got=f"a prompt of {len(first.prompt_ids):,} tokens{more}",
                need=f"less than the context of the model, {context:,} tokens",
                hint=f"cutoff_len={context // 2} cuts prompts by `truncation`, or leave them out",
            )
        return short


def tail_of(renderer: Renderer, tokenizer: Tokenizer) -> Tail | None:
    """The tail of a template; `None` where what is learned of an answer is in one piece."""
    (found,) = encode([_PROBE], renderer, tokenizer)
    runs = _runs(found.trained)
    if len(runs) < 2:
        return None
    start, end = runs[-1]
    return Tail(start - runs[-2][1], tuple(found.ids[start:end].tolist()))


def question(example: Example, tail: Tail | None = None) -> Question:
    """The last answer of an example that is learned, and the ids before it."""
    *before, (start, end) = _runs(example.trained)
    ids = example.ids.tolist()
    label = ids[start:end]
    if tail and tuple(label) == tail.ids:
        words, stop = (start - tail.gap, start - tail.gap)  # of an answer without words
        if before and before[-1][1] == stop:
            words, stop = before[-1]
        start, label = words, [*ids[words:stop], *label]
    return Question(ids[:start], label, example.origin, example.media)


def _runs(trained: np.ndarray) -> list[tuple[int, int]]:
    """First and end of each stretch that is learned."""
    edges = np.flatnonzero(np.diff(trained.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
