"""Conversations become examples: encoded in chunks, fitted into the cutoff, checked.

A row that the template refuses, that does not fit or that has nothing to learn goes to the
ledger. Reading rows is in `prepare.py`, leaving parts of a row out in `fit.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate, islice
from typing import NamedTuple

import tokenizers

from tunesmith.data import tokenize
from tunesmith.data.fast_encode import FastEncode
from tunesmith.data.fit import Encode, Fitted, Policy, fit
from tunesmith.data.ledger import OVER_CUTOFF, Ledger, RowError, Skip, counted
from tunesmith.data.media.family import Family
from tunesmith.data.media.marks import marked
from tunesmith.data.token_store import Counts
from tunesmith.data.tokenize import Encoded
from tunesmith.errors import Error, TemplateError
from tunesmith.templates import ANSWERING, Renderer
from tunesmith.types import Conversation, Example, Origin, Tokenizer

_KEPT_SHARE = 0.99


class Said(NamedTuple):
    """What a row of a file says."""

    conversation: Conversation
    origin: Origin
    held_out: bool
    """Of an `eval_dataset`."""

    @property
    def turns(self) -> int:
        """Answers, of which each is a turn of the model."""
        return sum([message.role in ANSWERING for message in self.conversation.messages])


class Fitting(NamedTuple):
    """How conversations become examples of at most `cutoff_len` tokens."""

    stream: Callable[[Iterable[Conversation]], Iterable[Encoded]]
    """Ids and trained flags of conversations, before anything is cut, one after the other."""
    encode: Encode
    """The same for a few."""
    apart: Callable[[Conversation], list[Conversation]]
    """The texts that together teach a conversation's answers; see `templates.apart`."""
    backend: tokenizers.Tokenizer
    cutoff_len: int
    truncation: Policy
    split_special_tokens: bool = True
    """Whether `encode` keeps the strings of control tokens in a row's words apart."""
    ids: FastEncode | None = None
    """Reads the texts of `stream`; `None`: the tokenizers library does."""
    family: Family | None = None
    """What the model makes of media; `None`: it takes none."""


def fitting(
    renderer: Renderer,
    tokenizer: Tokenizer,
    *,
    cutoff_len: int,
    truncation: Policy = "keep_end",
    train_on_prompt: bool = False,
    mask_history: bool = False,
    split_special_tokens: bool = True,
    expected: int | None = None,
) -> Fitting:
    """How the rows of a run become examples; the keys are those of `prepare`.

    With `expected`, that of `FastEncode`, the stream may raise `Differs`.
    """
    flags = {"train_on_prompt": train_on_prompt, "mask_history": mask_history}
    encoder = tokenize.encoder(renderer, tokenizer, split_special_tokens=split_special_tokens)
    ids = None if expected is None else FastEncode(encoder.backend, expected=expected)
    return Fitting(
        stream=partial(encoder.stream, **flags, ids=ids),
        encode=partial(encoder.encode, **flags),
        apart=partial(tokenize.apart, renderer=renderer, **flags),
        backend=tokenizer.backend,
        cutoff_len=cutoff_len,
        truncation=truncation,
        split_special_tokens=split_special_tokens,
        ids=ids,
        family=getattr(renderer, "family", None),
    )


class Maker:
    """Makes examples and remembers what was cut on the way.

    Args:
        how: they are made.
        ledger: of the run.
        counts: where the lengths of all texts are counted.
    """

    def __init__(self, how: Fitting, ledger: Ledger, counts: Counts | None = None) -> None:
        self.how, self.ledger = how, ledger
        self.counts = counts or Counts(Counter(), Counter())
        self.num_shortened = 0
        self.num_questions_cut = 0
        self.num_thinking = self.num_own_tokens = 0
        self.num_apart = self.num_texts = 0
        self._control_words = False  # of the row that is being made

    def examples(self, said: Iterable[Said]) -> Iterator[tuple[Said, list[Example]]]:
        """The rows that can be used, in order, each with its examples; others are in the ledger.

        Rows are asked for ahead of what is given back, so that the tokenizer always has work.
        """
        waiting: deque[tuple[Said, list[Conversation]]] = deque()

        def texts() -> Iterator[Conversation]:
            for one in self._with_marks(said):
                parts = self._apart(one.conversation)
                waiting.append((one, parts))
                yield from parts

        encoded = iter(self.how.stream(texts()))
        for first in encoded:
            one, parts = waiting.popleft()
            found = [first, *islice(encoded, len(parts) - 1)]
            mine = [one._replace(conversation=part) for part in parts]
            own_tokens, self._control_words = self.num_own_tokens, False
            try:
                examples = [self._example(*part) for part in zip(mine, found, strict=True)]
            except RowError as error:
                self.ledger.skip(Skip.of(error, one.origin))
                self.num_own_tokens = own_tokens
                continue
            self.ledger.use(one.origin.file)
            if self._control_words:
                self.ledger.find("control_tokens", one.origin)
            self.num_thinking += self.num_own_tokens > own_tokens
            self.num_apart += len(examples) > 1
            self.num_texts += len(examples) * (len(examples) > 1)
            yield one, examples
        self.ledger.notes += self._notes()

    def _example(self, one: Said, encoded: Encoded) -> Example:
        if encoded.error is not None:
            raise _row_error(encoded.skipped, encoded.error)
        try:
            fitted = self._fit(one.conversation, encoded)
        except Error as error:
            raise _row_error("no part that fits", error) from error
        self.counts.whole[len(encoded.ids)] += 1
        self.counts.needed[fitted.needed] += 1
        if fitted.encoded is None:
            reason = "longer than cutoff_len" if self.how.truncation == "error" else OVER_CUTOFF
            need = f"at most cutoff_len: {self.how.cutoff_len} (truncation: {self.how.truncation})"
            raise RowError.of(reason, "length", got=_length(encoded, fitted), need=need)
        self.num_shortened += fitted.num_dropped > 0
        self.num_questions_cut += fitted.question_cut
        self._control_words |= "special_text" in fitted.encoded.notes
        ids, trained = fitted.encoded.ids, fitted.encoded.trained
        if not trained[1:].any():
            need = "an answer with at least one token to learn"
            raise RowError.of("no trained token", "answer", got=f"{len(ids)} tokens", need=need)
        self.num_own_tokens += fitted.encoded.own_tokens
        media = tuple([one.conversation.media[number] for number in fitted.encoded.media])
        return Example(ids, trained, one.origin, media)

    def _with_marks(self, said: Iterable[Said]) -> Iterator[Said]:
        """The rows with marks in the places of media that can be read; see `media.marks`."""
        for one in said:
            if not one.conversation.media:
                yield one
                continue
            assert self.how.family is not None, "other datasets have been refused"
            try:
                for medium in one.conversation.media:
                    self.how.family.look(medium)
            except RowError as error:
                self.ledger.skip(Skip.of(error, one.origin))
                continue
            yield one._replace(conversation=marked(one.conversation))

    def _apart(self, conversation: Conversation) -> list[Conversation]:
        try:
            return self.how.apart(conversation)
        except TemplateError:  # the encoder meets it again and says which row it is
            return [conversation]

    def _fit(self, conversation: Conversation, encoded: Encoded) -> Fitted:
        return fit(
            conversation,
            encoded,
            cutoff_len=self.how.cutoff_len,
            policy=self.how.truncation,
            encode=self.how.encode,
            backend=self.how.backend,
        )

    def _notes(self) -> Iterator[str]:
        if self.how.ids is not None:
            yield from self.how.ids.notes()
        cutoff_len, keeps_end = self.how.cutoff_len, self.how.truncation == "keep_end"
        if self.num_shortened:
            which = "oldest" if keeps_end else "newest"
            yield f"cutoff_len {cutoff_len}: {counted(self.num_shortened)} lost their {which} turns"
        if self.num_questions_cut:
            which = "start" if keeps_end else "end"
            count = self.num_questions_cut
            yield f"cutoff_len {cutoff_len}: {counted(count)} lost the {which} of a question"
        if found := self.ledger.findings.get("control_tokens"):
            what = "with control tokens in their text (split_special_tokens: false)"
            if self.how.split_special_tokens:
                what = "with the text of a control token among their words; it stays text"
            yield f"{counted(found.count)} {what} (first: {found.first[0]})"
        if self.num_thinking:
            what = "of the tokenizer's thinking or tool-call tokens; each stays one token"
            count = f"{self.num_own_tokens:,} {what}"
            yield f"the answers of {counted(self.num_thinking)} hold {count}"
        if self.num_apart:
            yield (
                f"{self.num_apart:,} conversations became {self.num_texts:,} examples, each answer "
                "under its own prompt: later prompts show earlier answers without their thoughts, "
                "or changed in another way"
            )
        over = sum(count for length, count in self.counts.needed.items() if length > cutoff_len)
        if over:
            share = f"{over:,} of {self.counts.needed.total():,} rows do not fit and are left out"
            yield f"cutoff_len {cutoff_len}: {share}; {self._advice()}"

    def _advice(self) -> str:
        enough = enough_for(_KEPT_SHARE, self.counts.needed)
        if enough > self.how.cutoff_len:
            return f"cutoff_len: {enough} would keep 99 %"
        return f"cutoff_len: {max(self.counts.needed)} would keep all"


def enough_for(share: float, lengths: Mapping[int, int]) -> int:
    """The smallest cutoff under which a share of all texts stays.

    Args:
        share: above 0, up to 1.
        lengths: tokens -> number of texts, at least one.
    """
    ascending = sorted(lengths)
    upto = list(accumulate(lengths[length] for length in ascending))
    return ascending[bisect_left(upto, math.ceil(share * upto[-1]))]


def _length(encoded: Encoded, fitted: Fitted) -> str:
    """Of a row that does not fit, and of what is left of it once all has been cut that may be."""
    length = len(encoded.ids)
    left = f", {fitted.needed} after all that may be cut" if fitted.needed < length else ""
    return f"{length} tokens{left}"


def _row_error(skipped: str | None, error: Error) -> RowError:
    """What the template or the tokenizer says about a row, as a fault of the row."""
    reasons = {"not_expressible": "refused by the template", "nothing_trained": "no trained token"}
    reason = reasons.get(str(skipped), str(skipped))
    return RowError.of(reason, error.where, got=error.got, need=error.need, hint=error.hint)
