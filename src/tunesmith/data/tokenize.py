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

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, compress, islice
from typing import Literal, NamedTuple

import numpy as np
import tokenizers

from tunesmith import templates
from tunesmith.data import masks
from tunesmith.data.codec import Codec, Piece, in_pieces
from tunesmith.data.fast_encode import Ids, library
from tunesmith.data.frame import AsRead, Frame, borders_of, place_of
from tunesmith.errors import DataError, Error, TemplateError
from tunesmith.templates import Renderer
from tunesmith.types import Conversation, Span, Tokenizer

Note = Literal["special_text", "split"]
_BLOCK = 512  # conversations per call of the tokenizer: keeps its threads busy
_KEPT = 4096  # frames
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
    media: tuple[int, ...] = ()
    """Which media of the conversation stand in the text, in order."""


class _Row(NamedTuple):
    ids: np.ndarray
    answers: list[tuple[int, int]]
    """First token and end of each answer."""
    notes: tuple[Note, ...] = ()
    as_read: AsRead | None = None  # where offsets were asked for


class _Laid(NamedTuple):
    """A conversation as text."""

    frame: Frame
    texts: list[str]
    """Of each span."""
    text: str
    learned: list[bool] | None = None
    """For each answer whether it is learned; `None`: all are."""
    media: tuple[int, ...] = ()
    """Which media of the conversation stand in it, in order."""


_Block = list[_Laid | TemplateError]
_Read = np.ndarray | tokenizers.Encoding | None
"""Ids of a text, or its encoding where only offsets can tell where its answers lie."""
_Ready = tuple[_Laid | TemplateError, _Read]


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
        self.backend = self._codec.backend
        family = getattr(renderer, "family", None)
        self._media_ids = np.array(sorted(family.token_ids) if family else [], np.int32)
        self._frames: dict[object, Frame] = {}
        self._shapes: dict[object, tuple[Frame, list[bool] | None]] = {}

    def encode(
        self,
        conversations: Sequence[Conversation],
        *,
        train_on_prompt: bool = False,
        mask_history: bool = False,
    ) -> list[Encoded]:
        """See the function `encode`."""
        found = self.stream(
            conversations, train_on_prompt=train_on_prompt, mask_history=mask_history
        )
        return list(found)

    def stream(
        self,
        conversations: Iterable[Conversation],
        *,
        train_on_prompt: bool = False,
        mask_history: bool = False,
        ids: Ids | None = None,
    ) -> Iterator[Encoded]:
        """`encode` for any number, one after the other, in flat memory; `ids` reads the texts."""
        laid = (self._lay_or_refuse(c, mask_history=mask_history) for c in conversations)
        for one, read in self._ahead(_blocks(laid), ids or library(self.backend)):
            if isinstance(one, TemplateError):
                yield _skip("not_expressible", one)
                continue
            assert read is not None, "a text has been encoded"
            try:
                row = self._row(one, read)
            except TemplateError as error:
                yield _skip("not_expressible", error)
                continue
            example = _example(row, one.learned, train_on_prompt=train_on_prompt)
            own = self._own_tokens(row, one.frame, one.learned)
            if one.media:
                example = self._with_media(example, one.media)
            yield example._replace(own_tokens=own) if own else example

    def prompt(self, conversation: Conversation) -> list[int]:
        """See the function `encode_prompt`."""
        spans = self.renderer.render(conversation, add_generation_prompt=True)
        texts = [span.text for span in spans]
        return self._measure(_Laid(self._frame(spans), texts, "".join(texts))).ids.tolist()

    def read(self, conversation: Conversation) -> tuple[Frame, AsRead]:
        """How a conversation comes to its ids, which are those of `encode`.

        Raises:
            TemplateError: the template cannot express it.
        """
        laid = self._lay(conversation, mask_history=False)
        as_read = self._measure(laid).as_read
        assert as_read is not None, "measuring asks for offsets"
        return laid.frame, as_read

    def public(self, text: str) -> str:
        """See `Codec.public`."""
        return self._codec.public(text)

    def _ahead(self, blocks: Iterator[_Block], ids: Ids) -> Iterator[_Ready]:
        """Texts and what is read in them; the tokenizer works while the next texts are made."""
        first, second = next(blocks, None), next(blocks, None)
        if first is None:
            return
        if second is None:  # a thread is not worth it
            yield from zip(first, self._read(first, ids), strict=True)
            return
        with ThreadPoolExecutor(1) as pool:
            before = first, pool.submit(self._read, first, ids)
            for block in chain((second,), blocks):
                ahead = block, pool.submit(self._read, block, ids)
                yield from zip(before[0], before[1].result(), strict=True)
                before = ahead
            yield from zip(before[0], before[1].result(), strict=True)

    def _read(self, block: _Block, ids: Ids) -> list[_Read]:
        rows = [one for one in block if isinstance(one, _Laid)]
        anchored = [row.frame.anchors is not None for row in rows]
        texts = [row.text for row in rows]
        read = iter(ids(list(compress(texts, anchored))))
        unanchored = [text for text, known in zip(texts, anchored, strict=True) if not known]
        measured = iter(self.backend.encode_batch(unanchored, add_special_tokens=False))
        found = iter([next(read if known else measured) for known in anchored])
        return [next(found) if isinstance(one, _Laid) else None for one in block]

    def _lay_or_refuse(
        self, conversation: Conversation, *, mask_history: bool
    ) -> _Laid | TemplateError:
        try:
            return self._lay(conversation, mask_history=mask_history)
        except TemplateError as error:
            return error

    def _lay(self, conversation: Conversation, *, mask_history: bool) -> _Laid:
        """Text in which every answer counts as learned: borders do not depend on masks."""
        shape = self.renderer.shape(conversation)
        known = None if shape is None else self._shapes.get((shape.key, mask_history))
        if shape is not None and known is not None:
            texts = known[0].texts(shape.words)
            return _Laid(known[0], texts, "".join(texts), known[1])
        spans = self.renderer.render(masks.unmasked(conversation))
        texts = [span.text for span in spans]
        frame = self._frame(spans)
        learned = self._learned(conversation, frame, mask_history=mask_history)
        if shape is not None:
            assert [texts[i] for i in frame.slots] == shape.words, "the words, nothing else"
            if len(self._shapes) == _KEPT:
                self._shapes.clear()
            self._shapes[shape.key, mask_history] = frame, learned
        media = tuple([span.medium for span in spans if span.medium is not None])
        return _Laid(frame, texts, "".join(texts), learned, media)

    def _with_media(self, example: Encoded, media: tuple[int, ...]) -> Encoded:
        """Tokens of media are never learned, whatever is learned around them."""
        learned = example.trained & ~np.isin(example.ids, self._media_ids)
        return example._replace(trained=learned, media=media)

    def _frame(self, spans: Sequence[Span]) -> Frame:
        key = tuple([(span.text if span.control else None, span.trained) for span in spans])
        if key not in self._frames:
            if len(self._frames) == _KEPT:
                self._frames.clear()
            self._frames[key] = Frame(spans, self._codec)
        return self._frames[key]

    def _learned(
        self, conversation: Conversation, frame: Frame, *, mask_history: bool
    ) -> list[bool] | None:
        masked = masks.masked(conversation, mask_history=mask_history)
        if masked is None:
            return None
        flags = [span.trained for span in self.renderer.render(masked)]
        assert len(flags) == len(frame.trained), "masks do not change the text"
        return [flags[first] for first, _ in frame.answers]

    def _own_tokens(self, row: _Row, frame: Frame, learned: list[bool] | None) -> int:
        """Those in the words of learned answers; the template's own are none of them."""
        if self._codec.own_tokens(row.ids) == frame.all_own_tokens:
            return 0
        return sum(
            self._codec.own_tokens(row.ids[start:end]) - written
            for number, ((start, end), written) in enumerate(
                zip(row.answers, frame.own_tokens, strict=True)
            )
            if learned is None or learned[number]
        )

    def _row(self, laid: _Laid, read: np.ndarray | tokenizers.Encoding) -> _Row:
        """Ids of a text, and where its answers lie in them."""
        if isinstance(read, tokenizers.Encoding):
            return self._measure(laid, read)
        found = laid.frame.places(laid.text, read, self._codec.controls_in(read))
        return self._measure(laid) if found is None else _Row(read, found)

    def _measure(self, laid: _Laid, encoding: tokenizers.Encoding | None = None) -> _Row:
        """Ids of a text; the answers are found by offsets, or it is cut at their borders."""
        frame, codec = laid.frame, self._codec
        coder, lengths = codec.plain(laid.text), [len(text) for text in laid.texts]
        encoding = encoding or coder.encoding()
        ids = coder.ids(encoding)
        notes: tuple[Note, ...] = ()
        cuts: set[int] = set()
        if not codec.steers_as_written(ids, frame.control):
            notes = ("special_text",)
        if notes and self.split_special_tokens:
            spans = frame.spans(laid.texts)
            coder, lengths = codec.private(spans)
            encoding = coder.encoding()
            ids = coder.ids(encoding)
            if not codec.steers_as_written(ids, frame.control):
                cuts = codec.inside_control_words(spans, lengths)
        borders = borders_of(frame.answers, lengths)
        total = len(coder.text)
        places = [(place_of(encoding, s, total), place_of(encoding, e, total)) for s, e in borders]
        whole = Piece(0, total, ids)
        for (start, end), (first, last), tail in zip(borders, places, frame.tails, strict=True):
            if first is None or not coder.stands(whole, start, first, tail):
                cuts.add(start)
            if last is None:
                cuts.add(end)
        if not cuts:
            found = [(first or 0, last or 0) for first, last in places]
            return _Row(ids, found, notes, AsRead(coder, lengths, cuts))
        ids, found = in_pieces(coder, borders, frame.tails, cuts)
        if self.split_special_tokens and not codec.steers_as_written(ids, frame.control):
            need = "words that the tokenizer does not read as control tokens"
            raise TemplateError("text of a turn", got="a control token", need=need)
        at_border = cuts & {at for border in borders for at in border}
        as_read = AsRead(coder, lengths, cuts)
        return _Row(ids, found, (*notes, "split") if at_border else notes, as_read)


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
    masked = masks.masked(conversation, mask_history=mask_history and not train_on_prompt)
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


def _blocks(laid: Iterable[_Laid | TemplateError]) -> Iterator[_Block]:
    rest = iter(laid)
    while block := list(islice(rest, _BLOCK)):
        yield block


def _example(row: _Row, learned: list[bool] | None, *, train_on_prompt: bool) -> Encoded:
    trained = np.zeros(len(row.ids), bool)
    answers = [(0, len(row.ids))] if train_on_prompt else row.answers
    for number, (start, end) in enumerate(answers):
        if learned is None or learned[number] or train_on_prompt:
            trained[max(start, 1) : end] = True
    if not trained.any():
        return _skip("nothing_trained", DataError("trained", need="an answer that is learned"))
    return Encoded(row.ids, trained, row.notes)


def _skip(reason: str, error: Error) -> Encoded:
    return Encoded(_NO_IDS, _NONE_TRAINED, skipped=reason, error=error)
