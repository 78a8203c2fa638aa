"""The alpaca layout: a question and an answer column, perhaps with earlier turns."""

from __future__ import annotations

from typing import Any

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.detect import looks_like
from tunesmith.data.formats.values import Tell, answer, items, missing, optional, tools, untold
from tunesmith.data.formats.values import words as words_of
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Message


def alpaca(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """{"instruction", "input", "output", "system", "history"} -> turns, the oldest first.

    The question is prompt and query joined by a newline, an empty one left out. `tags` and
    `tell` are there for the one signature that all layouts share.

    Raises:
        RowError: no answer, a missing column, a value of another type than text.
    """
    del tags, tell
    messages: list[Message] = []
    for i, pair in enumerate(items(row, columns.history)):
        place = f"{columns.history}[{i}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError.of("wrong type", place, got=pair, need="a pair: [question, answer]")
        messages.append(Message("user", words_of(pair[0], f"{place}[0]")))
        messages.append(Message("assistant", answer(pair[1], f"{place}[1]")))
    parts = [optional(row, column) or "" for column in (columns.prompt, columns.query)]
    if columns.prompt is not None and columns.prompt not in row and not parts[1]:
        missing(row, columns.prompt, hint=looks_like(row))
    question = "\n".join(part for part in parts if part)
    assert columns.response is not None, "the registry lets no alpaca entry through without it"
    if columns.response not in row:
        missing(row, columns.response, hint=looks_like(row))
    messages.append(Message("user", question))
    messages.append(Message("assistant", answer(row[columns.response], columns.response)))
    return Conversation(tuple(messages), optional(row, columns.system), tools(row, columns.tools))
