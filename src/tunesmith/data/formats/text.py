"""The text layout: running text, without turns."""

from __future__ import annotations

from typing import Any

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.values import Tell, missing, untold, words
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Message


def text(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """{"text"} -> one turn that nobody answers; for stages that learn running text.

    Raises:
        RowError: no text, or a value of another type.
    """
    del tags, tell
    column = columns.prompt
    assert column is not None, "the registry lets no text entry through without it"
    if column not in row:
        missing(row, column)
    said = words(row[column], column)
    if not said.strip():
        raise RowError.of("empty text", column, got=repr(said), need="a text to learn")
    return Conversation((Message("user", said),))
