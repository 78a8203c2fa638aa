"""From the datasets of a run to its examples: read, convert, encode, fit, split, count.

Nothing is left out without its line in the ledger. What is returned is a pure function of
the files, the template, the tokenizer and the arguments.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tunesmith.data import registry, thinking, tokenize
from tunesmith.data.examples import Fitting, Maker, Said
from tunesmith.data.fit import Policy
from tunesmith.data.formats import FORMATS, unread_keys
from tunesmith.data.ledger import Ledger, RowError, Skip
from tunesmith.data.rows import Row, open_source, rows
from tunesmith.data.split import copies, fingerprint, split
from tunesmith.errors import ConfigError, DataError
from tunesmith.templates.choose import Renderer
from tunesmith.types import Conversation, Example, Origin, Tokenizer

_OPTIONAL = ("prompt", "query", "history", "system", "tools")


class Prepared(NamedTuple):
    """The examples of a run and what became of every row."""

    train: list[Example]
    eval: list[Example]
    ledger: Ledger
    fingerprint: str
    """sha256 of what is learned: ids and trained flags of all examples, in order."""
    source: str
    """sha256 of the raw bytes of all data files, in order."""
    num_duplicates: int
    """Training examples that equal an earlier one."""
    num_leaked: int
    """Held-out examples that are training examples too."""
    tools: bool = False
    """Whether a row has tools or calls them."""


def prepare(  # noqa: PLR0913 - one keyword for each key of the run file that matters here
    *,
    dataset: Sequence[str],
    eval_dataset: Sequence[str] = (),
    dataset_dir: Path,
    renderer: Renderer,
    tokenizer: Tokenizer,
    cutoff_len: int,
    max_samples: int | None = None,
    val_size: float = 0,
    seed: int = 42,
    train_on_prompt: bool = False,
    mask_history: bool = False,
    split_special_tokens: bool = True,
    on_bad_row: str = "error",
    truncation: Policy = "keep_end",
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Read the datasets of a run and make its examples.

    Args:
        dataset: names in the registry, their rows follow one another.
        eval_dataset: names of held-out datasets; excludes `val_size`.
        dataset_dir: where `dataset_info.json` stands.
        renderer: the chat template.
        tokenizer: the checked tokenizer.
        cutoff_len: the most tokens of an example.
        max_samples: the first rows of each dataset, `None`: all.
        val_size: share of the rows (below 1) or their number (from 1) that is held out.
        seed: decides which rows are held out.
        train_on_prompt: learn the questions too.
        mask_history: learn the last answer only.
        split_special_tokens: words that spell control tokens stay words.
        on_bad_row: `error` or `skip`.
        truncation: what happens to a row over the cutoff; see `fit.fit`.
        progress: called with rows done and rows in all while they are encoded.

    Raises:
        DataError: a file, an entry of the registry or rows that cannot be used.
        ConfigError: `val_size` with `eval_dataset`, or out of range.
    """
    held = _held_out_size(val_size, eval_dataset)
    ledger, digest = Ledger(), hashlib.sha256()
    said = [
        one
        for names, held_out in ((dataset, False), (eval_dataset, True))
        for entry in registry.load(dataset_dir, names)
        for one in _read(entry, ledger, digest, max_samples=max_samples, held_out=held_out)
    ]
    ledger.stop_on_bad_rows(on_bad_row)
    ledger.notes += _learned_all_the_same(said) if train_on_prompt else []
    said, told = thinking.read(said, renderer, mask_history=mask_history)
    ledger.notes += told
    flags = {"train_on_prompt": train_on_prompt, "mask_history": mask_history}
    words = {"split_special_tokens": split_special_tokens}
    encode = partial(tokenize.encode, renderer=renderer, tokenizer=tokenizer, **flags, **words)
    parts = partial(tokenize.apart, renderer=renderer, **flags)
    how = Fitting(encode, parts, tokenizer.backend, cutoff_len, truncation, **words)
    train, held_out = Maker(how, ledger).examples(said, progress)
    ledger.close()
    ledger.stop_on_bad_rows(on_bad_row)
    if not train or (eval_dataset and not held_out):
        raise _nothing_left(ledger)
    if held:
        train, held_out = split(train, held, seed)
    prepared = _prepared(train, held_out, ledger, source=digest.hexdigest())
    talks = [one.conversation for one in said]
    return prepared._replace(tools=any(map(_has_tools, talks)))


def _held_out_size(val_size: float, eval_dataset: Sequence[str]) -> float:
    if not val_size:
        return 0
    if eval_dataset:
        need = "one of them: held-out rows come from eval_dataset or from the training data"
        raise ConfigError("val_size", got=f"{val_size} beside eval_dataset", need=need)
    if val_size < 0 or (val_size > 1 and val_size != int(val_size)):
        need = "a share below 1, or a whole number of rows"
        raise ConfigError("val_size", got=val_size, need=need)
    return val_size


def _read(
    entry: registry.Entry,
    ledger: Ledger,
    digest: hashlib._Hash,
    *,
    max_samples: int | None,
    held_out: bool,
) -> Iterator[Said]:
    source = open_source(entry.path)
    digest.update(hashlib.sha256(source.raw).digest())
    if source.note:
        ledger.notes.append(source.note)
    convert = FORMATS[entry.formatting]
    unread = _Unread(entry)
    found = 0
    for row in islice(rows(source, entry.name), max_samples):
        found += 1
        ledger.read(source.file)
        if isinstance(row, Skip):
            ledger.skip(row)
            continue
        unread.count(row)
        try:
            conversation = convert(row.values, entry.columns, entry.tags)
        except RowError as error:
            ledger.skip(Skip.of(error, row.origin))
        else:
            yield Said(conversation, row.origin, held_out)
    if not found:
        raise DataError(source.file, got="no rows", need="at least one row")
    ledger.notes += unread.notes(found)


class _Unread:
    """Counts rows with something in a place that is not read.

    That is a usual column that the entry does not name, or a key of a message.
    """

    def __init__(self, entry: registry.Entry) -> None:
        self.entry = entry
        usual = registry.Columns()._replace(history="history", system="system", tools="tools")
        mapped = set(entry.columns)
        keys = _OPTIONAL if entry.formatting == "alpaca" else ("system", "tools")
        self.keys = {
            key: name
            for key in keys
            if (name := getattr(usual, key)) not in mapped and getattr(entry.columns, key) is None
        }
        self.counts = dict.fromkeys(self.keys, 0)
        self.in_messages: Counter[str] = Counter()

    def count(self, row: Row) -> None:
        for key, name in self.keys.items():
            if row.values.get(name):
                self.counts[key] += 1
        if self.entry.formatting == "sharegpt":
            self.in_messages.update(unread_keys(row.values, self.entry.columns, self.entry.tags))

    def notes(self, rows: int) -> Iterator[str]:
        if self.in_messages:
            found = ", ".join(f"{key!r} in {n:,}" for key, n in self.in_messages.most_common())
            yield f"{self.entry.path}: keys of messages that are not read: {found} of {rows:,} rows"
        named = {key: name for key, name in self.entry.columns._asdict().items() if name}
        if not self.entry.explicit_columns:
            unused = ("messages",) if self.entry.formatting == "alpaca" else ("prompt", "query")
            unused += () if self.entry.formatting == "alpaca" else ("response",)
            named = {key: name for key, name in named.items() if key not in unused}
        counts = {key: count for key, count in self.counts.items() if count}
        if counts:
            found = ", ".join(f"{self.keys[key]!r} in {count:,}" for key, count in counts.items())
            named.update({key: self.keys[key] for key in counts})
            line = ", ".join(f'"{key}": "{name}"' for key, name in named.items())
            yield (
                f"{self.entry.path}: columns that are not read: {found} of {rows:,} rows;"
                f' to read them: "columns": {{{line}}} in {self.entry.place}'
            )


def _prepared(
    train: list[Example], held_out: list[Example], ledger: Ledger, *, source: str
) -> Prepared:
    twice, leaked = copies(train, held_out)
    ledger.notes += _told("training rows are copies of an earlier one", twice)
    ledger.notes += _told("held-out rows are training rows too: evaluation looks better", leaked)
    learned = fingerprint(train, held_out)
    return Prepared(train, held_out, ledger, learned, source, len(twice), len(leaked))


def _has_tools(talk: Conversation) -> bool:
    return bool(talk.tools) or any(message.calls for message in talk.messages)


def _learned_all_the_same(said: list[Said]) -> list[str]:
    marked = sum(any(m.trained is False for m in one.conversation.messages) for one in said)
    what = "rows mark messages as context; train_on_prompt learns them all the same"
    return [f"{marked:,} {what}"] if marked else []


def _nothing_left(ledger: Ledger) -> DataError:
    read = sum(account.read for account in ledger.files.values())
    reasons = ", ".join(f"{len(s):,} {reason}" for reason, s in ledger.skips().items())
    advice = [note for note in ledger.notes if "would keep" in note]
    return DataError(
        ", ".join(ledger.files) or "dataset",
        got=f"no usable rows: {read:,} read, {reasons}",
        need="at least one row to learn from",
        hint=advice[-1].split("; ")[-1] if advice else "",
    )


def _told(what: str, pairs: list[tuple[Origin, Origin]]) -> Iterator[str]:
    if pairs:
        yield f"{len(pairs):,} {what} (first: {pairs[0][0]} is {pairs[0][1]})"
