"""The alpaca layout: a question and an answer column, perhaps with earlier turns."""

from __future__ import annotations

from typing import Any

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.values import Tell, items, missing, optional, tools, untold
from tunesmith.data.formats.values import answer as answer_of
from tunesmith.data.formats.values import words as words_of
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Message


def alpaca(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """{"instruction", "input", "output", "system", "history"} -> turns, the oldest first.

    The question is prompt and query joined by a newline, an empty one left out.

    Raises:
        RowError: no answer, a missing column, a value of another type than text.
    """
    assert columns.response is not None, "the registry lets no alpaca entry through without it"
    prompt = asked(row, columns, tags, tell)
    answer = answered(row, columns.response, tags, tell)
    return prompt._replace(messages=(*prompt.messages, answer))


def asked(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """All but the answer. `tags` and `tell` are there for the one signature of all layouts.

    Raises:
        RowError: as `alpaca`.
    """
    del tags, tell
    messages: list[Message] = []
    for i, pair in enumerate(items(row, columns.history)):
        place = f"{columns.history}[{i}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError.of("wrong type", place, got=pair, need="a pair: [question, answer]")
        messages.append(Message("user", words_of(pair[0], f"{place}[0]")))
        messages.append(Message("assistant", answer_of(pair[1], f"{place}[1]")))
    parts = [optional(row, column) or "" for column in (columns.prompt, columns.query)]
    if columns.prompt is not None and columns.prompt not in row and not parts[1]:
        missing(row, columns.prompt)
    messages.append(Message("user", "\n".join(part for part in parts if part)))
    return Conversation(tuple(messages), optional(row, columns.system), tools(row, columns.tools))


def answered(row: dict[str, Any], column: str, tags: Tags, tell: Tell = untold) -> Message:
    """The answer in a column: text.

    Raises:
        RowError: it is not there, is none, or says nothing.
    """
    del tags, tell
    if column not in row:
        missing(row, column)
    return Message("assistant", answer_of(row[column], column))
