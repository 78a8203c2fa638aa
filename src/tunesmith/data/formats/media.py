"""Pictures, videos and sounds that a row names: found and counted, not opened.

Each has its placeholder in the messages, at the place where the model sees it; the first
`<image>` is the first of the column `images`, and so on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunesmith.data.entry import Columns
from tunesmith.data.formats.answers import conversations
from tunesmith.data.ledger import RowError
from tunesmith.templates.calls import loads
from tunesmith.types import Conversation, Labelled, Meaning, Media, Preference

KINDS: dict[str, Literal["image", "video", "audio"]] = {
    "images": "image", "videos": "video", "audios": "audio"
}  # fmt: skip
"""Keys of the columns and what they hold; the placeholder is that word between `<` and `>`."""


class Place(NamedTuple):
    """Where files of media are looked for."""

    folder: Path
    """Relative paths begin here."""
    anywhere: bool = True
    """Whether a path may lead out of the folder: not for rows that somebody else has written."""


def columns_of(columns: Columns) -> dict[str, str]:
    """Key and name of the columns with media."""
    return {key: name for key in KINDS if (name := getattr(columns, key)) is not None}


def with_media(said: Meaning, row: dict[str, Any], columns: Columns, place: Place) -> Meaning:
    """The row with the media that its columns name.

    Raises:
        RowError: another number of them than of placeholders, a file that is not there or that
            the row may not name, a value that names none.
    """
    named = columns_of(columns)
    if not named:
        return said
    found = tuple(one for key, name in named.items() for one in _media(row, key, name, place))
    for conversation in conversations(said):
        _count(conversation, found, named)
    if isinstance(said, Preference):
        return said._replace(prompt=said.prompt._replace(media=found))
    if isinstance(said, Labelled):
        return said._replace(conversation=said.conversation._replace(media=found))
    return said._replace(media=found)


def _count(conversation: Conversation, media: tuple[Media, ...], named: dict[str, str]) -> None:
    for key, kind in KINDS.items():
        word = f"<{kind}>"
        texts = [text for m in conversation.messages for text in (m.content, m.thought, *m.results)]
        wanted = sum([text.count(word) for text in texts])
        there = sum([one.kind == kind for one in media])
        if wanted != there:
            column = named.get(key)
            holds = f"{there} in {column}" if column else f"no column {key} in the entry"
            raise RowError.of(
                "placeholders and media differ",
                column or key,
                got=f"{wanted} {word} in the messages, {holds}",
                need=f"{word} once for each of its {key}, where it belongs",
            )


def _media(row: dict[str, Any], key: str, column: str, place: Place) -> Iterator[Media]:
    value = row.get(column)
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):  # a table has no lists; there it stands as JSON text
            value = loads(value)
    if value is None or value == "":
        return
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        where = f"{column}[{i}]" if isinstance(value, list) else column
        if key == "videos" and isinstance(item, list) and item:
            frames = [_source(one, f"{where}[{j}]", place) for j, one in enumerate(item)]
            yield Media("video", tuple(frames))
        else:
            yield Media(KINDS[key], _source(item, where, place))


def _source(item: Any, where: str, place: Place) -> str | bytes:
    """The bytes of a file, or its path; also as `datasets` keeps both: {"bytes", "path"}."""
    if isinstance(item, dict):
        item = item.get("bytes") or item.get("path")
    if isinstance(item, bytes) and item:
        return item
    if not isinstance(item, str):
        got = "null" if item is None else item
        raise RowError.of("wrong type", where, got=got, need="the path of a file, as text")
    path = os.path.normpath(os.path.join(place.folder, item))
    if not place.anywhere and not Path(path).is_relative_to(os.path.normpath(place.folder)):
        raise RowError.of(
            "path out of media_dir",
            where,
            got=item,
            need=f"a file in {place.folder}: these rows come from elsewhere",
        )
    if not os.path.isfile(path):
        need = "a file that is there; nothing is downloaded for a row"
        hint = "media_dir: the folder that the paths begin in"
        got = f"{item}: no such file in {place.folder}"
        if os.path.isabs(item):
            got, hint = f"{item}: no such file", ""
        raise RowError.of("media that is not there", where, got=got, need=need, hint=hint)
    return path
