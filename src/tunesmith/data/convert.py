"""Rows of one dataset to conversations, and what is worth knowing about them: counted, told once.

Which layout a plain path has, what fills placeholders, what stands in the rows and is not read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tunesmith.data.entry import Columns, Entry, Tags, spelled_out
from tunesmith.data.formats.answers import changed, conversations, read
from tunesmith.data.formats.detect import detect, listed, only_text
from tunesmith.data.formats.media import KINDS, Place, with_media
from tunesmith.data.formats.messages import unread_keys
from tunesmith.data.ledger import Skip, counted
from tunesmith.data.rows import Row
from tunesmith.templates import Renderer, has_marks, spelled
from tunesmith.types import Conversation, Labelled, Meaning, Message, Origin

_LOOKED_AT = 200
_USUAL = Columns()._replace(**{name: name for name in ("history", "system", "tools", *KINDS)})
_OPTIONAL = ("prompt", "query", "history", "system", "tools", *KINDS)
_PLURAL = {kind: key for key, kind in KINDS.items()}
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}")


def laid_out(
    entry: Entry, rows: Iterator[Row | Skip]
) -> tuple[Entry, Iterator[Row | Skip], list[str]]:
    """The entry with its layout, all of its rows, and what to tell about it.

    Args:
        entry: one that says its layout, or a plain path, which does not.
        rows: from the first on; some are looked at, and given back.

    Raises:
        DataError: the rows of a plain path have no layout that is known.
    """
    if entry.formatting is not None:
        return entry, rows, []
    first = list(islice(rows, _LOOKED_AT))
    values = [row.values for row in first if isinstance(row, Row)]
    if not values:
        return entry._replace(formatting="alpaca"), chain(first, rows), []
    if only_text(values):
        found, said = {"formatting": "text", "columns": {"prompt": "text"}}, "text"
    else:
        found, said = detect(entry.place, values)
    entry = entry._replace(
        formatting=found["formatting"],
        columns=Columns(**dict.fromkeys(Columns._fields) | found["columns"]),
        ranking=found.get("ranking", False),
        tags=Tags(**dict.fromkeys(Tags._fields) | found["tags"]) if "tags" in found else Tags(),
        explicit_columns=True,
        explicit_tags=True,
    )
    return entry, chain(first, rows), [f"{entry.value}: read as {said}"]


class Converter:
    """Makes nouns of the rows of one dataset: conversations, pairs or labelled answers.

    Args:
        entry: the dataset, with its layout.
        renderer: the template, in whose words thoughts and results are written; `None`: they
            stay apart, for whoever looks at rows without a model.
        media_dir: where paths of media begin; `None`: where the entry's own do.
    """

    def __init__(
        self, entry: Entry, renderer: Renderer | None = None, *, media_dir: Path | None = None
    ) -> None:
        assert entry.formatting is not None, "`laid_out` settles it"
        self.entry, self.renderer, self.formatting = entry, renderer, entry.formatting
        here = entry.source == "file_name"
        self.place = Place(entry.base if media_dir is None else media_dir, anywhere=here)
        self.chats = entry.formatting in ("sharegpt", "openai")
        self.either = entry.formatting == "openai" and not entry.explicit_tags
        self.unread = _unread_columns(entry)
        self.unseen = set(entry.columns) - {None}
        """Columns that no row has had yet."""
        self.columns = entry.columns
        """As the last good row has them; see `_either`."""
        self.in_columns, self.in_messages = Counter[str](), Counter[str]()
        self.told, self.unfilled, self.filled = Counter[str](), Counter[str](), Counter[str]()
        self.labels, self.media = Counter[bool](), Counter[str]()
        self.first: dict[str, Origin] = {}
        self.num_unfilled = self.num_unread = self.num_thoughts = self.num_read = 0

    def __call__(self, row: Row) -> Meaning:
        """What the row says.

        Raises:
            RowError: it cannot be used.
        """
        columns, tags = self.entry.columns, self.entry.tags
        if self.either:
            columns, tags = _either(row.values, self.entry)
        self._count_unread(row, columns, tags)

        def tell(words: str) -> None:
            self._tell(words, row.origin)

        said = read(
            row.values, columns, tags, tell,
            formatting=self.formatting, ranking=self.entry.ranking,
        )  # fmt: skip
        said = with_media(said, row.values, columns, self.place)
        self.num_read, self.columns = self.num_read + 1, columns
        self._count(said)
        if self.renderer is None:
            return changed(said, lambda one: self._fill(one, row.origin))
        renderer = self.renderer
        return changed(said, lambda one: spelled(self._fill(one, row.origin), renderer))

    def notes(self, rows: int) -> Iterator[str]:
        """What was counted over all rows, one line each."""
        one_file = self.entry.source == "file_name" and len(self.entry.paths) == 1
        name = str(self.entry.paths[0]) if one_file else self.entry.name
        for words, count in self.told.most_common():
            yield f"{name}: {counted(count)} with a {words} (first: {self.first[words]})"
        yield from self._notes_on_labels(name)
        if self.media:
            found = ", ".join(f"{n:,} {kind}" for kind, n in self.media.items())
            yield f"{name}: {found} in {counted(rows)}, with as many placeholders"
        if self.num_thoughts and self.renderer is not None and not has_marks(self.renderer):
            yield (
                f"{name}: {counted(self.num_thoughts)} with thoughts, which the template has no "
                "marks for: they are learned between <think> and </think>"
            )
        yield from self._notes_on_fill(name)
        if self.in_messages:
            found = ", ".join(f"{key!r} in {n:,}" for key, n in self.in_messages.most_common())
            yield f"{name}: keys of messages that are not read: {found} of {rows:,} rows"
        unseen = self.unseen - {*_USUAL}  # which may be in no row
        if unseen and self.entry.explicit_columns:
            columns = self.entry.columns._asdict().items()
            found = ", ".join(f"{column!r} ({key})" for key, column in columns if column in unseen)
            yield f"{name}: columns that no row has: {found}, named in {self.entry.place}"
        if self.in_columns:
            yield self._note_on_columns(name, rows)

    def findings(self) -> Iterator[tuple[str, Origin, int]]:
        """What of it is worth counting over all datasets: kind, first place, rows."""
        counts = {"placeholders": self.num_unfilled, "unread_columns": self.num_unread}
        for kind, count in counts.items():
            if count:
                yield kind, self.first[kind], count

    def _tell(self, words: str, origin: Origin) -> None:
        self.told[words] += 1
        self.first.setdefault(words, origin)

    def _count(self, said: Meaning) -> None:
        if isinstance(said, Labelled):
            self.labels[said.desirable] += 1
        texts = conversations(said)
        self.num_thoughts += any([m.thought for text in texts for m in text.messages])
        self.media.update(_PLURAL[one.kind] for one in texts[0].media)

    def _notes_on_labels(self, name: str) -> Iterator[str]:
        good, bad = self.labels[True], self.labels[False]
        if good and bad:
            yield f"{name}: {counted(good)} with a good answer, {counted(bad)} with a bad one"
        elif self.labels:
            which, other = ("good", "bad") if good else ("bad", "good")
            yield (
                f"{name}: {counted(good + bad)}, all with a {which} answer; KTO learns from the "
                f"difference to {other} ones, so it needs both"
            )

    def _count_unread(self, row: Row, columns: Columns, tags: Tags) -> None:
        if self.unseen:
            self.unseen -= row.values.keys()
        unread = [name for name in self.unread.values() if row.values.get(name)]
        if unread:
            self.in_columns.update(unread)
            self.num_unread += 1
            self.first.setdefault("unread_columns", row.origin)
        if self.chats:
            found = unread_keys(row.values, columns, tags)
            if found:
                self.in_messages.update(found)

    def _note_on_columns(self, name: str, rows: int) -> str:
        entry = self.entry
        named = {key: column for key, column in self.columns._asdict().items() if column}
        if not entry.explicit_columns:
            named = {k: v for k, v in named.items() if self.chats or k != "messages"}
        counts = {key: self.in_columns[column] for key, column in self.unread.items()}
        counts = {key: count for key, count in counts.items() if count}
        found = ", ".join(f"{self.unread[key]!r} in {count:,}" for key, count in counts.items())
        named |= {key: self.unread[key] for key in counts}
        return (
            f"{name}: columns that are not read: {found} of {rows:,} rows"
            f"{self._to_read(named) if self.num_read else ''}"
        )

    def _to_read(self, named: dict[str, str]) -> str:
        entry = self.entry._replace(columns=Columns(**dict.fromkeys(Columns._fields) | named))
        there = {key: name for key, name in named.items() if name not in self.unseen}
        return f"; to read them: {self._added(entry, 'columns', there)}"

    def _added(self, entry: Entry, section: str, names: dict[str, str]) -> str:
        """What to write, and where: a path alone has no entry, so it becomes one."""
        if entry.plain:
            return f"{spelled_out(entry)} in place of {entry.value}"
        return f'"{section}": {json.dumps(names, ensure_ascii=False)} in {entry.place}'

    def _fill(self, conversation: Conversation, origin: Origin) -> Conversation:
        texts = [conversation.system or "", *_texts(conversation.messages)]
        if not any(["{{" in text for text in texts]):
            return conversation
        names = dict.fromkeys(name for text in texts for name in _PLACEHOLDER.findall(text))
        filling = [name for name in names if name in self.entry.fill]
        left = [name for name in names if name not in self.entry.fill]
        self.filled.update(filling)
        self.unfilled.update(left)
        if left:
            self.num_unfilled += 1
            self.first.setdefault("placeholders", origin)
        for name in left:
            self.first.setdefault(f"{{{{{name}}}}}", origin)
        return filled(conversation, self.entry.fill) if filling else conversation

    def _notes_on_fill(self, name: str) -> Iterator[str]:
        if self.unfilled:
            shown = dict(self.unfilled.most_common(5))
            found = ", ".join(
                f"{{{{{key}}}}} in {count:,} (first: {self.first[f'{{{{{key}}}}}']})"
                for key, count in shown.items()
            )
            found += ", …" if len(self.unfilled) > 5 else ""
            keys = {**self.entry.fill, **dict.fromkeys(shown, "…")}
            line = self._added(self.entry._replace(fill=keys), "fill", keys)
            yield (
                f"{name}: {counted(self.num_unfilled)} with placeholders that nothing fills: "
                f"{found}; to fill them: {line}"
            )
        idle = [key for key in self.entry.fill if not self.filled[key]]
        if idle:
            yield f"{name}: fill names {', '.join(idle)}, which no row holds"


def filled(conversation: Conversation, fill: Mapping[str, str]) -> Conversation:
    """The conversation with its placeholders filled, where there is something to fill them."""

    def put(text: str) -> str:
        if "{{" not in text:
            return text
        return _PLACEHOLDER.sub(lambda found: fill.get(found[1], found[0]), text)

    messages = tuple(
        message._replace(
            content=put(message.content),
            thought=put(message.thought),
            results=tuple(map(put, message.results)),
        )
        for message in conversation.messages
    )
    system = conversation.system
    return conversation._replace(messages=messages, system=None if system is None else put(system))


def _texts(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        yield message.content
        yield message.thought
        yield from message.results


def _either(row: dict[str, Any], entry: Entry) -> tuple[Columns, Tags]:
    """The names of an OpenAI entry that gives none: OpenAI's, or those of sharegpt.

    LLaMA-Factory looks for the latter in every layout.
    """
    columns, tags = entry.columns, entry.tags
    if not entry.explicit_columns and "messages" not in row and "conversations" in row:
        columns = columns._replace(messages="conversations")
    turns = listed(row.get(columns.messages or ""))
    first = turns[0] if turns else None
    if isinstance(first, dict) and tags.role_tag not in first and "from" in first:
        tags = Tags()
    return columns, tags


def _unread_columns(entry: Entry) -> dict[str, str]:
    """Usual columns that the entry does not name: what they are for, and their names."""
    mapped = set(entry.columns)
    keys = _OPTIONAL if entry.formatting == "alpaca" else ("system", "tools", *KINDS)
    return {
        key: name
        for key in keys
        if (name := getattr(_USUAL, key)) not in mapped and getattr(entry.columns, key) is None
    }
