"""Conversations as token ids, with the learned tokens marked.

The whole rendered text is encoded at once, as serving does, and the learned parts are found
by offsets. Two kinds of rows take a longer way, and are counted by their notes:
`special_text`: words that hold the string of a control token; they stay words, unless
`split_special_tokens` is off.
`split`: a token that would lie across the border of an answer; the text is cut there, so that
the ids of the prompt are what serving sends.

Not here: what a row of a file means (`formats`), what happens to a row that is skipped
(`ledger`, `prepare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import tokenizers

from tunesmith import templates
from tunesmith.data.codec import Codec, Piece, in_pieces
from tunesmith.errors import DataError, Error, TemplateError
from tunesmith.templates import ANSWERING, Renderer
from tunesmith.types import Conversation, Message, Span, Tokenizer

Note = Literal["special_text", "split"]
_NO_IDS = np.zeros(0, np.int32)
_NONE_TRAINED = np.zeros(0, bool)


class Encoded(NamedTuple):
    """One conversation as ids, or why it is none."""

    ids: np.ndarray
    """Token ids, (L,) int32; empty if skipped."""
    trained: np.ndarray
    """Whether the token is learned, (L,) bool. The first never is."""
    notes: tuple[Note, ...] = ()
    """What was special about it, for the counts of the ledger."""
    skipped: str | None = None
    """Reason for the ledger: not_expressible, nothing_trained."""
    error: Error | None = None
    """What exactly is wrong with a skipped row."""
    own_tokens: int = 0
    """The tokenizer's tokens of thoughts and tool calls in the words of learned answers."""


class _Row(NamedTuple):
    ids: np.ndarray
    answers: list[tuple[int, int]]
    """First token and end of each answer."""
    notes: tuple[Note, ...]


class Encoder:
    """Encodes conversations with one template and one tokenizer; keeps what it has learned.

    Args:
        renderer: the template.
        tokenizer: the tokenizer; it is not changed.
        split_special_tokens: the string of a control token in a speaker's words stays words;
            else it is what the tokenizer reads in it.
    """

    def __init__(
        self, renderer: Renderer, tokenizer: Tokenizer, *, split_special_tokens: bool = True
    ) -> None:
        self.renderer, self.tokenizer = renderer, tokenizer
        self.split_special_tokens = split_special_tokens
        self._codec = Codec(tokenizer, renderer.control_text())

    def encode(
        self,
        conversations: Sequence[Conversation],
        *,
        train_on_prompt: bool = False,
        mask_history: bool = False,
    ) -> list[Encoded]:
        """See the function `encode`."""
        rendered = [self._spans(c) for c in conversations]
        texts = ["".join(s.text for s in spans) for spans in rendered if isinstance(spans, list)]
        encoded = self._codec.backend.encode_batch(texts, add_special_tokens=False)
        ready = iter(zip(texts, encoded, strict=True))
        out = []
        for conversation, spans in zip(conversations, rendered, strict=True):
            if isinstance(spans, TemplateError):
                out.append(_skip("not_expressible", spans))
                continue
            try:
                row = self._row(spans, *next(ready))
            except TemplateError as error:
                out.append(_skip("not_expressible", error))
                continue
            learned = self._learned(conversation, spans, mask_history=mask_history)
            example = _example(row, learned, train_on_prompt=train_on_prompt)
            out.append(example._replace(own_tokens=self._own_tokens(row, spans, learned)))
        return out

    def prompt(self, conversation: Conversation) -> list[int]:
        """See the function `encode_prompt`."""
        spans = self.renderer.render(conversation, add_generation_prompt=True)
        return self._measure(spans).ids.tolist()

    def _spans(self, conversation: Conversation) -> list[Span] | TemplateError:
        """Spans in which every answer counts as learned: borders do not depend on masks."""
        try:
            return self.renderer.render(_unmasked(conversation))
        except TemplateError as error:
            return error

    def _learned(
        self, conversation: Conversation, spans: list[Span], *, mask_history: bool
    ) -> list[bool] | None:
        """For each answer of the spans whether it is learned; `None`: all are."""
        masked = _masked(conversation, mask_history=mask_history)
        if masked is None:
            return None
        flags = [span.trained for span in self.renderer.render(masked)]
        assert len(flags) == len(spans), "masks do not change the text"
        return [flags[first] for first, _ in _answers(spans)]

    def _own_tokens(self, row: _Row, spans: list[Span], learned: list[bool] | None) -> int:
        """Those in the words of learned answers; the template's own are none of them."""
        codec, count = self._codec, 0
        if not codec.own_tokens(row.ids):
            return 0
        answers = zip(row.answers, _answers(spans), strict=True)
        for number, ((start, end), (first, last)) in enumerate(answers):
            if learned is None or learned[number]:
                written = [codec.known(s.text)[0] for s in spans[first:last] if s.control]
                count += codec.own_tokens(row.ids[start:end]) - sum(map(codec.own_tokens, written))
        return count

    def _measure(self, spans: list[Span]) -> _Row:
        text = "".join(span.text for span in spans)
        encoding = self._codec.backend.encode(text, add_special_tokens=False)
        return self._row(spans, text, encoding)

    def _row(self, spans: list[Span], text: str, encoding: tokenizers.Encoding) -> _Row:
        """Ids of rendered spans from the encoding of their joined text."""
        codec = self._codec
        coder, lengths = codec.plain(text), [len(span.text) for span in spans]
        ids = coder.ids(encoding)
        notes: tuple[Note, ...] = ()
        cuts: set[int] = set()
        if not codec.steers_as_written(ids, spans):
            notes = ("special_text",)
        if notes and self.split_special_tokens:
            coder, lengths = codec.private(spans)
            encoding = coder.encoding()
            ids = coder.ids(encoding)
            if not codec.steers_as_written(ids, spans):
                cuts = codec.inside_control_words(spans, lengths)
        answers = _answers(spans)
        borders = _borders(answers, lengths)
        before = [spans[first - 1] if first else None for first, _ in answers]
        tails = [codec.tail(s.text) if s and s.control else _NO_IDS for s in before]
        total = len(coder.text)
        places = [(_place(encoding, s, total), _place(encoding, e, total)) for s, e in borders]
        whole = Piece(0, total, ids)
        for (start, end), (first, last), tail in zip(borders, places, tails, strict=True):
            if first is None or not coder.stands(whole, start, first, tail):
                cuts.add(start)
            if last is None:
                cuts.add(end)
        if not cuts:
            return _Row(ids, [(first or 0, last or 0) for first, last in places], notes)
        ids, found = in_pieces(coder, borders, tails, cuts)
        if self.split_special_tokens and not codec.steers_as_written(ids, spans):
            need = "words that the tokenizer does not read as control tokens"
            raise TemplateError("text of a turn", got="a control token", need=need)
        at_border = cuts & {at for border in borders for at in border}
        return _Row(ids, found, (*notes, "split") if at_border else notes)


def encode(
    conversations: Sequence[Conversation],
    renderer: Renderer,
    tokenizer: Tokenizer,
    *,
    train_on_prompt: bool = False,
    mask_history: bool = False,
    split_special_tokens: bool = True,
) -> list[Encoded]:
    """Conversations as ids, in order; nothing is raised for a row, it is skipped instead.

    Args:
        conversations: each ends with an answer.
        renderer: the template.
        tokenizer: the tokenizer; it is not changed.
        train_on_prompt: learn every token but the first.
        mask_history: learn only the last answer, and those that say `trained: true`.
        split_special_tokens: see `Encoder`.
    """
    coding = encoder(renderer, tokenizer, split_special_tokens=split_special_tokens)
    return coding.encode(conversations, train_on_prompt=train_on_prompt, mask_history=mask_history)


def apart(
    conversation: Conversation,
    renderer: Renderer,
    *,
    train_on_prompt: bool = False,
    mask_history: bool = False,
) -> list[Conversation]:
    """The texts that teach a conversation's answers; arguments as in `encode`.

    Raises:
        TemplateError: the template cannot express it.
    """
    masked = _masked(conversation, mask_history=mask_history and not train_on_prompt)
    return templates.apart(renderer, masked or conversation)


def encode_prompt(
    conversation: Conversation,
    renderer: Renderer,
    tokenizer: Tokenizer,
    *,
    split_special_tokens: bool = True,
) -> list[int]:
    """Ids that serving sends; the training ids of the answered conversation begin with them.

    Args:
        conversation: ends with a question.
        renderer: the template.
        tokenizer: the tokenizer; it is not changed.
        split_special_tokens: see `Encoder`; as it was in training.

    Raises:
        TemplateError: the template cannot express it.
    """
    coding = encoder(renderer, tokenizer, split_special_tokens=split_special_tokens)
    return coding.prompt(conversation)


_RECENT: list[Encoder] = []


def encoder(
    renderer: Renderer, tokenizer: Tokenizer, *, split_special_tokens: bool = True
) -> Encoder:
    """The encoder of a pair; the last four are kept, because building one takes a moment."""
    for known in _RECENT:
        same = known.renderer is renderer and known.tokenizer.backend is tokenizer.backend
        if same and known.split_special_tokens == split_special_tokens:
            return known
    _RECENT.insert(0, Encoder(renderer, tokenizer, split_special_tokens=split_special_tokens))
    del _RECENT[4:]
    return _RECENT[0]


def _unmasked(conversation: Conversation) -> Conversation:
    if all(m.trained is None for m in conversation.messages):
        return conversation
    messages = [
        m._replace(trained=None) if m.role in ANSWERING else m for m in conversation.messages
    ]
    return conversation._replace(messages=tuple(messages))


def _masked(conversation: Conversation, *, mask_history: bool) -> Conversation | None:
    """With `trained` decided for every answer; `None` if all are learned."""
    last = len(conversation.messages) - 1

    def decided(number: int, message: Message) -> Message:
        if message.role not in ANSWERING or message.trained is not None:
            return message
        return message._replace(trained=number == last or not mask_history)

    messages = tuple(decided(i, m) for i, m in enumerate(conversation.messages))
    if all(m.trained for m in messages if m.role in ANSWERING):
        return None
    return conversation._replace(messages=messages)


def _answers(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """First span and end of each run of learned spans."""
    out: list[tuple[int, int]] = []
    first = None
    for number, span in enumerate(spans):
        if span.trained and first is None:
            first = number
        elif not span.trained and first is not None:
            out.append((first, number))
            first = None
    if first is not None:
        out.append((first, len(spans)))
    return out


def _borders(answers: list[tuple[int, int]], lengths: list[int]) -> list[tuple[int, int]]:
    """First character and end of each answer."""
    starts = [0, *accumulate(lengths)]
    return [(starts[first], starts[end]) for first, end in answers]


def _place(encoding: tokenizers.Encoding, position: int, total: int) -> int | None:
    """The first token at or after a character; `None` if one lies across."""
    for character in range(position, total):
        token = encoding.char_to_token(character)
        if token is None:
            continue  # a character that the normalizer has dropped
        span = encoding.token_to_chars(token)
        return token if span is not None and span[0] >= position else None
    return len(encoding)


def _example(row: _Row, learned: list[bool] | None, *, train_on_prompt: bool) -> Encoded:
    trained = np.full(len(row.ids), train_on_prompt)
    for number, (start, end) in enumerate(row.answers):
        if learned is None or learned[number]:
            trained[start:end] = True
    if len(trained):
        trained[0] = False
    if not trained.any():
        return _skip("nothing_trained", DataError("trained", need="an answer that is learned"))
    return Encoded(row.ids, trained, row.notes)


def _skip(reason: str, error: Error) -> Encoded:
    return Encoded(_NO_IDS, _NONE_TRAINED, skipped=reason, error=error)
