"""What a server serves: an engine, the words of its template, names, and how tokens are drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import tokenizers

from tunesmith.errors import Error
from tunesmith.infer.grammar import CallForm
from tunesmith.infer.request import Delta, Grammar, Request, Stream
from tunesmith.infer.sampling import Sampling
from tunesmith.serve.limits import Limits
from tunesmith.serve.reading import Style
from tunesmith.types import Conversation, Seen

if TYPE_CHECKING:
    from torch import Tensor


class Engine(Protocol):
    """A `ServingEngine` that hands deltas over as they arise; see `infer.batching`."""

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together."""
        ...

    @property
    def load(self) -> tuple[int, int]:
        """(answers under way, requests that wait)."""
        ...

    @property
    def gone(self) -> str | None:
        """Why it will answer no more; `None`: it answers."""
        ...

    def submit(
        self, request: Request, on_delta: Callable[[Delta | Error], None] | None = None
    ) -> Stream:
        """Take a request; `on_delta` is called in the engine's thread."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


class Constraining(Protocol):
    """Makes grammars; see `infer.grammar`."""

    def of_json(self, schema: Mapping[str, Any] | None) -> Grammar:
        """JSON of a schema; `None`: any object."""
        ...

    def of_call(self, forms: Sequence[CallForm]) -> Grammar:
        """A call of one of these tools."""
        ...


class Voice(NamedTuple):
    """One of the models: an adapter, or none, and the words in which it was trained to speak."""

    adapter: str | None
    """Name that the engine knows; `None`: what it was made with."""
    encode: Callable[[Conversation], Sequence[int]]
    """From a conversation to the prompt, by the function that training uses."""
    style: Callable[[str | None], Style]
    """How answers are read, where these tools (JSON text) are given."""
    stop_ids: Collection[int]
    stop_texts: Sequence[str] = ()
    constraining: Callable[[], Constraining] | None = None
    """Made at the first request that needs it; `None`: answers cannot be held to anything."""
    call_forms: Callable[[str], Sequence[CallForm]] | None = None
    """How each of these tools (JSON text) is called, in their order."""
    see: Callable[[Conversation, Sequence[int]], Seen | None] | None = None
    """What the model takes of the pictures of a conversation with this prompt; `None`: it reads."""


class Served(NamedTuple):
    """Everything that the routes need."""

    engine: Engine
    backend: tokenizers.Tokenizer
    """Of all models here."""
    models: Mapping[str, Voice]
    """By the names that clients use, the usual one first."""
    sampling: Sampling
    """What a request does not set."""
    limits: Limits = Limits()
    embed: Callable[[Sequence[int], str | None], Tensor] | None = None
    """From ids to a vector, by an adapter's name; `None`: the model has none."""

    def voice(self, model: str | None) -> Voice:
        """That of a name, or the usual one."""
        return self.models[next(iter(self.models)) if model is None else model]
