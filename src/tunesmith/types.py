"""The nouns that travel between the rooms, one per boundary.

`file row -> Conversation | Preference | Labelled -> Spans -> Example -> Batch -> Score -> Loss
-> Step`.
Torch is named for type checkers only: importing this module stays cheap.

Shape letters: T tokens of a batch laid end to end, P trained positions, D documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import tokenizers
    from torch import Tensor

Role = Literal["user", "assistant", "observation", "function"]


class Origin(NamedTuple):
    """Where a row of the user's data stands."""

    dataset: str
    """Its name in the registry."""
    file: str
    line: int
    """First line of the row in the file, from 1; of a table without lines the row's number."""
    row: int
    """Number of the row in the file, from 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} (row {self.row})"


class Call(NamedTuple):
    """A tool that an answer calls."""

    name: str
    arguments: str
    """JSON text of an object; numbers stand in it as they were written."""


class Message(NamedTuple):
    """One turn. `observation` is a tool's result, `function` an answer that calls tools."""

    role: Role
    content: str
    """Its words; of a `function` turn, what is said beside the calls."""
    trained: bool | None = None
    """Whether loss falls on it; `None`: the run's rule decides."""
    calls: tuple[Call, ...] = ()
    """Of a `function` turn: the calls, in order."""
    thought: str = ""
    """Of an answer: what is thought before its words, without marks (`templates.spelled`)."""
    results: tuple[str, ...] = ()
    """Of an `observation` with several results: each of them; `content` is empty then."""


class Media(NamedTuple):
    """A picture, a video or a sound that a row refers to; it is not opened here."""

    kind: Literal["image", "video", "audio"]
    source: str | bytes | tuple[str | bytes, ...]
    """Path of its file, its bytes, or, of a video, those of its frames."""


class Conversation(NamedTuple):
    """What a row says, whatever its layout in the file was."""

    messages: tuple[Message, ...]
    system: str | None = None
    """`None` or "": the template's own default applies."""
    tools: str | None = None
    """Tool definitions as JSON text, never as columns."""
    media: tuple[Media, ...] = ()
    """Pictures, then videos, then sounds; those of a kind in the order of their placeholders
    (`<image>`, `<video>`, `<audio>`) in the messages."""


class Preference(NamedTuple):
    """Two answers to one prompt, of which the first is preferred."""

    prompt: Conversation
    """Ends with a question; has the media of the answers too."""
    chosen: Message
    rejected: Message


class Labelled(NamedTuple):
    """A conversation, and whether its last answer is a good one."""

    conversation: Conversation
    desirable: bool


Meaning = Conversation | Preference | Labelled
"""What a row can say."""


class Span(NamedTuple):
    """A piece of the rendered conversation; the pieces joined are the whole text."""

    text: str
    trained: bool = False
    """Loss falls on its tokens."""
    control: bool = True
    """May hold special tokens; a speaker's own words never may."""
    medium: int | None = None
    """Which of the conversation's media the text stands for; `None`: none."""


class Example(NamedTuple):
    """One row ready for training."""

    ids: np.ndarray
    """Token ids, (L,) int32."""
    trained: np.ndarray
    """Whether the token is learned, (L,) bool. The first token never is."""
    origin: Origin
    media: tuple[Media, ...] = ()
    """Those whose places are among the ids, in that order."""


class Seen(NamedTuple):
    """Media as a model takes them."""

    inputs: Mapping[str, Tensor]
    """By the names of its arguments; all media of a batch, in the order of their places."""
    positions: Tensor | None = None
    """Of models that count rows and columns of a picture, (3, T) int64; `None`: tokens count up."""
    alone: bool = False
    """The tokens of a picture see one another, by a mask that the model makes for one document."""
    later: Mapping[str, Tensor] = {}
    """What the model takes again for tokens that follow in later passes."""
    made: Mapping[str, Tensor] | None = None
    """What the vision tower makes of them, where that is known before; see `compute.towers`."""


class Batch(NamedTuple):
    """Some examples of one optimizer step, laid end to end without padding."""

    ids_T: Tensor
    """Token ids of all documents, (T,) int64."""
    positions_T: Tensor
    """Position of each token in its own document, from 0, (T,) int64."""
    offsets: tuple[int, ...]
    """Start of every document and the end of the last: D + 1 numbers from 0 to T."""
    predict_P: Tensor
    """Indices into T whose hidden state predicts a trained token, (P,) int64: document by
    document, in the order of `rows`."""
    labels_P: Tensor
    """The trained token ids; of documents that share nothing `ids_T[predict_P + 1]`, (P,) int64."""
    rows: tuple[int, ...] = ()
    """Index of each document in the run's list of examples."""
    num_trained: tuple[int, ...] = ()
    """Trained tokens of each document, which add up to P."""
    until: tuple[int, ...] = ()
    """Where documents share their beginnings: the end of the last descendant of each segment, which
    alone see it; `offsets` are those of segments then. Empty: no document sees another."""
    saved: int = 0
    """Tokens of the documents that do not stand here because an equal beginning does."""
    media: tuple[tuple[Media, ...], ...] = ()
    """Of each document, in the order of their places among the ids; empty: none has any."""
    seen: Seen | None = None
    """What the model takes of the media beside the ids; `None`: they have not been read."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents, each counted whole."""
        return self.offsets[-1] + self.saved


class Score(NamedTuple):
    """What a model says about the trained positions of a batch."""

    logprob_P: Tensor
    """Natural log-probability of each trained token, (P,) f32."""
    correct_P: Tensor | None = None
    """Whether the trained token is the most probable one, (P,) bool; only where asked."""


class Loss(NamedTuple):
    """A sum and what to divide it by; divided once per optimizer step."""

    total: Tensor
    """Sum over the batch, in nats, () f32, with gradient."""
    weight: Tensor
    """What the sum counts (trained tokens, pairs), () f32."""
    metrics: dict[str, Tensor]
    """Further sums over the same weight, without gradient; of any shape."""
    penalty: Tensor | None = None
    """Made small as well, but no part of the loss that is told; a sum as `total` is."""

    @property
    def minimised(self) -> Tensor:
        """What the gradient is of, () f32."""
        return self.total if self.penalty is None else self.total + self.penalty


class Step(NamedTuple):
    """One optimizer step that has been applied."""

    number: int
    """From 1."""
    loss: float
    """Mean over everything the step holds, in nats."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    weight: float
    """Trained tokens (or pairs) in the step."""
    tokens: int
    """All tokens in the step."""
    metrics: dict[str, Any]
    """Means over the weight; lists (of lists) of what has a shape."""
    examples: int = 0
    """Rows of the data in the step."""
    saved: int = 0
    """Of all tokens those that were not computed, because rows share them."""


class Tokenizer(NamedTuple):
    """A checked tokenizer: `tokenizer.json` and the few facts that stand beside it."""

    backend: tokenizers.Tokenizer
    path: Path
    """Directory that it was read from."""
    bos: str | None
    eos: str | None
    pad: str | None
    unk: str | None
    chat_template: str | None
    """The model's own Jinja template, or `None`."""
    stops: tuple[str, ...] = ()
    """Further tokens that end an answer, by `eos_token_id` of `stops_from`."""
    stops_from: str = "generation_config.json"
    """generation_config.json, or config.json where that one says nothing."""

    def id_of(self, token: str | None) -> int | None:
        """Id of a token of the vocabulary; `None` if there is no such token."""
        return None if token is None else self.backend.token_to_id(token)
