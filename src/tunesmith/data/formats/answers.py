"""What a row says of its answers: one is given, one is preferred to another, or one is judged.

The layouts say how questions and answers are spelled; an entry's `ranking` and `kto_tag` say
which of the three its rows are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats import alpaca, messages
from tunesmith.data.formats.detect import looks_like
from tunesmith.data.formats.text import text
from tunesmith.data.formats.values import MISSING, Tell, missing, untold
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Labelled, Meaning, Message, Preference

_SAME = "chosen answer that is the rejected one too: such a pair teaches nothing"
_SPELLED = {"true": True, "false": False}


_Whole = Callable[[dict[str, Any], Columns, Tags, Tell], Conversation]
_Asked = Callable[[dict[str, Any], Columns, Tags, Tell], Conversation]
_Answered = Callable[[dict[str, Any], str, Tags, Tell], Message]

_WHOLE: dict[str, _Whole] = {
    "alpaca": alpaca.alpaca,
    "sharegpt": messages.sharegpt,
    "openai": messages.openai,
    "text": text,
}
_APART: dict[str, tuple[_Asked, _Answered]] = {  # the prompt, and an answer in a column
    "alpaca": (alpaca.asked, alpaca.answered),
    "sharegpt": (messages.asked, messages.answered),
    "openai": (messages.asked, messages.answered),
}


def read(
    row: dict[str, Any],
    columns: Columns,
    tags: Tags,
    tell: Tell = untold,
    *,
    formatting: str,
    ranking: bool = False,
) -> Meaning:
    """What a row of an entry says, without its media. Equal answers of a pair are told.

    Raises:
        RowError: it cannot be used; where it plainly has another layout, with the entry of that.
    """
    try:
        return _read(row, columns, tags, tell, formatting=formatting, ranking=ranking)
    except RowError as error:
        if error.reason == MISSING:
            error.hint = looks_like(row, columns, tags, formatting=formatting) or error.hint
        elif error.reason == messages.UNKNOWN_ROLE:
            error.hint = error.hint or looks_like(row, columns, tags, formatting=formatting)
        raise


def _read(
    row: dict[str, Any],
    columns: Columns,
    tags: Tags,
    tell: Tell,
    *,
    formatting: str,
    ranking: bool,
) -> Meaning:
    if ranking:
        return _preference(row, columns, tags, tell, formatting=formatting)
    conversation = _WHOLE[formatting](row, columns, tags, tell)
    if columns.kto_tag is None:
        return conversation
    return Labelled(conversation, label(row, columns.kto_tag))


def _preference(
    row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell, *, formatting: str
) -> Preference:
    asked, answered = _APART[formatting]
    assert columns.chosen is not None, "the registry lets no pairs through without it"
    assert columns.rejected is not None, "the registry lets no pairs through without it"
    prompt = asked(row, columns, tags, tell)
    chosen = answered(row, columns.chosen, tags, tell)
    rejected = answered(row, columns.rejected, tags, tell)
    if chosen == rejected:
        tell(_SAME)
    return Preference(prompt, chosen, rejected)


def label(row: dict[str, Any], column: str) -> bool:
    """Whether the answer is a good one: true or false, or these words where all values are text.

    Raises:
        RowError: not there, null, or anything else: a number may be a class or a score.
    """
    if column not in row:
        missing(row, column)
    value = row[column]
    if isinstance(value, str):
        value = _SPELLED.get(value.lower(), value)
    if not isinstance(value, bool):
        got = "null" if value is None else value
        reason = "null instead of true or false" if value is None else "wrong type"
        need = "true (a good answer) or false (a bad one)"
        raise RowError.of(reason, column, got=got, need=need)
    return value


def conversations(said: Meaning) -> tuple[Conversation, ...]:
    """The texts that a row stands for: one, or the prompt with each answer of a pair."""
    if isinstance(said, Preference):
        return tuple(
            said.prompt._replace(messages=(*said.prompt.messages, answer))
            for answer in (said.chosen, said.rejected)
        )
    return (said.conversation if isinstance(said, Labelled) else said,)


def changed(said: Meaning, change: Callable[[Conversation], Conversation]) -> Meaning:
    """The row with its words changed by something that changes messages one by one."""
    if isinstance(said, Labelled):
        return said._replace(conversation=change(said.conversation))
    if isinstance(said, Conversation):
        return change(said)
    prompt = said.prompt
    every = change(prompt._replace(messages=(*prompt.messages, said.chosen, said.rejected)))
    *asked, chosen, rejected = every.messages
    return Preference(every._replace(messages=tuple(asked)), chosen, rejected)
