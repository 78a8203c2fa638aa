"""Rows of the run's datasets as conversations; what cannot be read goes to the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tunesmith.data import registry
from tunesmith.data.examples import Said
from tunesmith.data.formats import FORMATS, unread_keys
from tunesmith.data.ledger import Ledger, RowError, Skip, counted
from tunesmith.data.rows import Row, open_sources, rows
from tunesmith.errors import DataError
from tunesmith.templates import ANSWERING, Renderer, Template
from tunesmith.templates.thoughts import unsilenced
from tunesmith.types import Conversation

_OPTIONAL = ("prompt", "query", "history", "system", "tools")


class Reader:
    """Reads the rows of datasets; what cannot be read goes to the ledger.

    Args:
        ledger: of the run.
        max_samples: the first rows of each dataset, `None`: all.
        stop: after a bad row the others are only counted.
    """

    def __init__(self, ledger: Ledger, max_samples: int | None, *, stop: bool) -> None:
        self.ledger, self.max_samples, self.stop = ledger, max_samples, stop
        self._marked = 0

    def said(self, entries: Sequence[tuple[registry.Entry, bool]]) -> Iterator[Said]:
        """What the rows say, in order.

        Raises:
            DataError: a file that cannot be read, or that holds no row.
        """
        for entry, held_out in entries:
            yield from self._said(entry, held_out=held_out)

    def learned_all_the_same(self) -> list[str]:
        """Of `train_on_prompt`: rows that say otherwise."""
        what = "rows mark messages as context; train_on_prompt learns them all the same"
        return [f"{self._marked:,} {what}"] if self._marked else []

    def _said(self, entry: registry.Entry, *, held_out: bool) -> Iterator[Said]:
        sources = open_sources(entry.path)
        self.ledger.notes += [source.note for source in sources if source.note]
        columns = [name for name in entry.columns if name]
        read = (row for source in sources for row in rows(source, entry.name, columns=columns))
        convert = FORMATS[entry.formatting]
        unread = _Unread(entry)
        found = 0
        for row in islice(read, self.max_samples):
            found += 1
            self.ledger.read(row.origin.file)
            if isinstance(row, Skip):
                self.ledger.skip(row)
                continue
            unread.count(row)
            try:
                conversation = convert(row.values, entry.columns, entry.tags)
            except RowError as error:
                self.ledger.skip(Skip.of(error, row.origin))
                continue
            self.ledger.tools |= bool(conversation.tools) or any(
                [message.calls for message in conversation.messages]
            )
            self._marked += any([m.trained is False for m in conversation.messages])
            if not (self.stop and self.ledger.bad):
                yield Said(conversation, row.origin, held_out)
        if not found:
            raise DataError(str(entry.path), got="no rows", need="at least one row")
        self.ledger.notes += unread.notes(found)


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


class Unasked:
    """Counts rows that think though nothing in their prompt asks for it.

    A Jinja template refuses rows under another prompt than the one that it serves.

    Args:
        renderer: the template.
        mask_history: of the run.
    """

    def __init__(self, renderer: Renderer, *, mask_history: bool) -> None:
        self.asked, self.marks = None, None
        if isinstance(renderer, Template):
            self.asked, self.marks = renderer.enable_thinking, renderer.format.thinking
        self.mask_history, self.number = mask_history, 0

    def counting(self, said: Iterable[Said]) -> Iterator[Said]:
        """The same rows."""
        for one in said:
            self.number += self.marks is not None and self._thinks(one.conversation)
            yield one

    def notes(self) -> Iterator[str]:
        """For the plan."""
        if self.number:
            value = "null" if self.asked is None else "false"
            yield (
                f"{counted(self.number)} with thoughts under enable_thinking: {value}: their "
                "answers are learned under the prompt that enable_thinking: true serves, the "
                f"others under that of {value}"
            )

    def _thinks(self, conversation: Conversation) -> bool:
        last = conversation.messages[-1]
        return any(
            message.role in ANSWERING
            and message.trained is not False
            and (message is last or message.trained or not self.mask_history)
            and unsilenced(message.content, self.marks, enable_thinking=self.asked)
            for message in conversation.messages
        )
