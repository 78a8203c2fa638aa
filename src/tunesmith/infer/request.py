"""What an engine is asked and what it says: the one boundary between engines and whoever serves.

Ids go in and ids come out, so that what was trained is what is served; conversations, tools and
HTTP are the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from tunesmith.infer.sampling import Sampling
from tunesmith.types import Seen

if TYPE_CHECKING:
    from torch import Tensor

Finish = Literal["stop", "length", "deadline", "cancelled"]
"""Why an answer ended: by itself or at a stop word; at its limit or that of the context; too late;
because nobody waits for it any more."""


class Constraint(Protocol):
    """How far one answer has come in a grammar."""

    def mask(self, logits_V: Tensor) -> Tensor:
        """Logits (V,) f32 with -inf for every token that may not come next."""
        ...

    def take(self, token_id: int) -> None:
        """A token has come."""
        ...


class Grammar(Protocol):
    """What an answer must be."""

    def begin(self) -> Constraint:
        """Before the first token."""
        ...


class Request(NamedTuple):
    """One answer that is wanted."""

    prompt_ids: tuple[int, ...]
    """The whole prompt, at least one token."""
    sampling: Sampling
    adapter: str | None = None
    """Name of an adapter that the engine has; `None`: what it was made with by default."""
    stops: tuple[str, ...] = ()
    """Texts that end the answer, beside the engine's own; never part of its text."""
    stop_ids: Collection[int] | None = None
    """Tokens that end the answer; `None`: the engine's own."""
    logprobs: int | None = None
    """How many alternatives to tell for every token, 0 for none beside the token itself; `None`:
    no log-probabilities at all."""
    seen: Seen | None = None
    """What the model takes of the prompt's pictures, videos and sounds; `None`: it has none."""
    grammar: Grammar | None = None
    """What the answer must be: made by `infer.grammar`; `None`: free text."""
    deadline: float | None = None
    """On `time.monotonic()`: an answer that is not ready by then ends as it is."""


class Token(NamedTuple):
    """One token of an answer."""

    id: int
    logprob: float | None = None
    """In nats, under the model before temperature and cuts."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens with theirs, best first."""


class Delta(NamedTuple):
    """What has come since the last one."""

    text: str
    """Safe to show: never half a character, never the beginning of a stop word."""
    tokens: tuple[Token, ...]
    """Those produced meanwhile, the one that ended the answer included."""
    finish: Finish | None = None
    """Set in the last delta only."""


class Stream(Protocol):
    """An answer while it arises; read by one thread."""

    def __iter__(self) -> Iterator[Delta]:
        """Deltas until the one with `finish`; waits for each.

        Raises:
            Error: the engine could not go on.
        """
        ...

    def cancel(self) -> None:
        """Nobody waits for it: its place is free before the engine's next step. Any thread."""
        ...


class ServingEngine(Protocol):
    """Answers many requests at once."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a request may ask for."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; `None`: no limit is known."""
        ...

    def submit(self, request: Request) -> Stream:
        """Take a request; any thread. It begins when there is room.

        Raises:
            ModelError: the prompt is empty or leaves no room in the context; no such adapter.
        """
        ...

    def close(self) -> None:
        """End what is under way as `cancelled` and stop."""
        ...
