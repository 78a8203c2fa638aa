"""Some rows of a run as they are learned: which rows, and what becomes of every token.

Only these rows are put into tokens, by the same steps as in `prepare`, and no more of a file is
read than finding them takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data import registry, tokenize
from tunesmith.data.examples import Fitting, Maker, Said, fitting
from tunesmith.data.fetch import NO_ACCESS, Access
from tunesmith.data.fit import Fitted, Policy, fit
from tunesmith.data.ledger import Ledger, Skip
from tunesmith.data.pick import Places, Spread, found_in
from tunesmith.data.prepare import entered
from tunesmith.data.reader import Reader
from tunesmith.data.rows import Row
from tunesmith.data.thinking import Thoughts
from tunesmith.data.tokenize import Encoded
from tunesmith.data.uncut import Token, Uncut
from tunesmith.errors import Error, TemplateError
from tunesmith.templates import Renderer
from tunesmith.types import Conversation, Example, Origin, Tokenizer

_RAW = 4000  # characters of a row that has no tokens


class Text(NamedTuple):
    """One text that a row is learned from; most rows have one."""

    tokens: tuple[Token, ...]
    notes: tuple[str, ...] = ()
    """What was done to it."""

    def count(self, kind: str) -> int:
        """Tokens of one kind; see `Token.kind`."""
        return sum(token.kind == kind for token in self.tokens)

    @property
    def num_kept(self) -> int:
        """Tokens of the example."""
        return len(self.tokens) - self.count("cut")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, and every token; a cut one has no position."""
        positions = accumulate((not token.cut for token in self.tokens), initial=0)
        return {
            "num_tokens": self.num_kept,
            "num_trained": self.count("trained"),
            "num_cut": self.count("cut"),
            "notes": list(self.notes),
            "tokens": [
                {
                    "id": token.id,
                    "position": None if token.cut else at,
                    "class": token.kind,
                    "text": token.text,
                    "template": token.control,
                }
                for token, at in zip(self.tokens, positions, strict=False)
            ],
        }


class Shown(NamedTuple):
    """One row and what becomes of it."""

    origin: Origin
    held_out: bool
    """Of an `eval_dataset`."""
    texts: tuple[Text, ...]
    skip: Skip | None = None
    """Why it is not used."""
    raw: str = ""
    """What stands in the file, of a row that has no tokens."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.origin._asdict(),
            "held_out": self.held_out,
            "skipped": self.skip.as_dict() if self.skip else None,
            "texts": [text.as_dict() for text in self.texts],
            "raw": self.raw,
        }


class Showing(NamedTuple):
    """Rows of a run."""

    rows: tuple[Shown, ...]
    chosen: tuple[str, ...]
    """Which rows these are, in words."""
    notes: tuple[str, ...]
    """What is to be said about these rows."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [row.as_dict() for row in self.rows]
        return {"chosen": list(self.chosen), "notes": list(self.notes), "rows": rows}


def show(  # noqa: PLR0913 - one keyword for each key of the run file that matters here
    *,
    dataset: Sequence[registry.Item],
    eval_dataset: Sequence[registry.Item] = (),
    dataset_dir: Path,
    renderer: Renderer,
    tokenizer: Tokenizer,
    cutoff_len: int,
    max_samples: int | None = None,
    seed: int = 42,
    train_on_prompt: bool = False,
    mask_history: bool = False,
    split_special_tokens: bool = True,
    truncation: Policy = "keep_end",
    where: Callable[[str], str] = str,
    access: Access = NO_ACCESS,
    count: int | None = None,
    places: Sequence[str] = (),
) -> Showing:
    """Some rows of a run.

    Args:
        dataset: this and what follows up to `access` as in `prepare`.
        eval_dataset: …
        dataset_dir: …
        renderer: …
        tokenizer: …
        cutoff_len: …
        max_samples: …
        seed: …; it also decides which rows are shown.
        train_on_prompt: …
        mask_history: …
        split_special_tokens: …
        truncation: …
        where: …
        access: …
        count: how many rows; `None`: three, and at least one of each dataset.
        places: `FILE:LINE` of the rows; with them, `count` limits the rows of one line.

    Raises:
        DataError: a file or an entry that cannot be read; a place without a row.
    """
    entries = entered(dataset, eval_dataset, dataset_dir=dataset_dir, where=where, access=access)
    how = fitting(
        renderer,
        tokenizer,
        cutoff_len=cutoff_len,
        truncation=truncation,
        train_on_prompt=train_on_prompt,
        mask_history=mask_history,
        split_special_tokens=split_special_tokens,
    )
    picker: Spread | Places
    if places:
        picker = Places(entries, [found_in(entries, place) for place in places], count=count)
        picker.max_samples, max_samples = max_samples, None
    else:
        picker = Spread(entries, count, seed=seed)
    ledger = _Told()
    reader = Reader(ledger, renderer, max_samples=max_samples, seed=seed, stop=False, pick=picker)
    thoughts = Thoughts(renderer)
    said: dict[Origin, Conversation] = {}
    notes: list[str] = []

    def remembered() -> Iterator[Said]:
        for one in thoughts.in_marks(reader.said(picker.entries)):
            said[one.origin] = one.conversation
            yield one
        notes.extend([*ledger.notes, *thoughts.notes()])  # later ones count as if these were all

    made = {one.origin: examples for one, examples in Maker(how, ledger).examples(remembered())}
    encoder = tokenize.encoder(renderer, tokenizer, split_special_tokens=split_special_tokens)
    uncut = Uncut(encoder, truncation)

    def shown(row: Row | Skip, held_out: bool) -> Shown:
        origin, found = row.origin, ()
        if origin in said:
            found = tuple(_texts(uncut, how, said[origin], made.get(origin, ())))
        raw = "" if found else _raw(row)
        return Shown(origin, held_out, found, ledger.skipped.get(origin), raw)

    rows = [shown(*one) for one in picker.picked]
    return Showing(tuple(rows), tuple(picker.told()), tuple(notes))


class _Told(Ledger):
    """A ledger that knows of each row why it is skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped: dict[Origin, Skip] = {}

    def skip(self, skip: Skip) -> None:
        """Count it, and remember it."""
        super().skip(skip)
        self.skipped[skip.origin] = replace(skip, text=None)


def _texts(
    uncut: Uncut,
    how: Fitting,
    conversation: Conversation,
    examples: Sequence[Example],
) -> Iterator[Text]:
    """The texts of a row; of one that is skipped as far as there are any."""
    try:
        parts = how.apart(conversation)
        for number, (part, whole) in enumerate(zip(parts, how.encode(parts), strict=True)):
            text = _text(uncut, how, part, whole)
            if examples:
                kept = [token.id for token in text.tokens if not token.cut]
                assert kept == examples[number].ids.tolist(), "what is shown is what is learned"
            yield text
    except TemplateError:
        return


def _text(uncut: Uncut, how: Fitting, conversation: Conversation, whole: Encoded) -> Text:
    if whole.error is not None:  # nothing to learn; there is a text all the same, or it raises
        return Text(tuple(uncut.tokens(conversation, whole.trained)))
    try:
        fitted = fit(
            conversation,
            whole,
            cutoff_len=how.cutoff_len,
            policy=how.truncation,
            encode=how.encode,
            backend=how.backend,
        )
    except Error:  # no part of it can stand alone: the row is skipped
        fitted = Fitted(None, 0)
    found = uncut.beside(conversation, whole.trained, fitted)
    return Text(tuple(found), tuple(_notes(fitted, how)))


def _notes(fitted: Fitted, how: Fitting) -> Iterator[str]:
    oldest, start = ("oldest", "start") if how.truncation == "keep_end" else ("newest", "end")
    if fitted.num_dropped:
        count = fitted.num_dropped
        messages = f"{oldest} message" if count == 1 else f"{count} {oldest} messages"
        yield f"over cutoff_len {how.cutoff_len}: its {messages} are cut"
    if fitted.question_cut:
        yield f"over cutoff_len {how.cutoff_len}: the {start} of a question is cut"
    if fitted.encoded is not None and "special_text" in fitted.encoded.notes:
        if how.split_special_tokens:
            yield "has the text of a control token among its words; it stays text"
        else:
            yield "holds control tokens in its words (split_special_tokens: false)"
    if fitted.encoded is not None and "split" in fitted.encoded.notes:
        yield "a token would lie across the border of an answer; the text is cut there"


def _raw(row: Row | Skip) -> str:
    if isinstance(row, Skip):
        text = (row.text or "").strip()
    else:
        text = json.dumps(row.values, ensure_ascii=False, indent=2, default=str)
    return text if len(text) <= _RAW else f"{text[:_RAW]} … ({len(text):,} characters)"
