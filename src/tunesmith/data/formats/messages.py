"""The layouts that list messages: sharegpt (from, value) and OpenAI's (role, content).

What a message says beside its content (calls, a thought, whether it is learned) is read in
both; they differ in what their names are when an entry does not give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tunesmith.data.entry import OPENAI_TAGS, Columns, Tags, nearest
from tunesmith.data.formats import beside
from tunesmith.data.formats.values import Tell, answer, items, missing, optional, tools, untold
from tunesmith.data.ledger import RowError
from tunesmith.templates import ANSWERING
from tunesmith.templates.calls import loads
from tunesmith.types import Conversation, Message, Role

UNKNOWN_ROLE = "unknown role"
"""The kind of fault of a row whose roles may have other names than its entry says."""


def sharegpt(
    row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold
) -> Conversation:
    """{"conversations": [{"from", "value"}]} -> turns, question and answer side by turns.

    A leading system message wins over the system column. Even places hold the user or an
    observation, odd ones the assistant or a function call, and an answer is last; the results
    of parallel calls follow one another and make one turn. A `response` column holds the last
    answer where the messages do not.

    Raises:
        RowError: no messages, an unknown role or one out of order, an empty answer, a
            missing column or key, a value of another type than text.
    """
    if columns.response is None:
        return _read(row, columns, tags, tell)
    prompt = _read(row, columns, tags, tell, answers=(columns.response,))
    answer = answered(row, columns.response, tags, tell)
    return prompt._replace(messages=(*prompt.messages, answer))


def asked(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """The turns of a row whose answers stand in columns of their own; a question is last.

    Raises:
        RowError: as `sharegpt`, or no question at the end.
    """
    return _read(row, columns, tags, tell, answers=(columns.chosen, columns.rejected))


def answered(row: dict[str, Any], column: str, tags: Tags, tell: Tell = untold) -> Message:
    """The answer in a column: a message, or a list of this one; in a table its JSON text.

    Raises:
        RowError: it is not there, or is no message of an answer.
    """
    if column not in row:
        missing(row, column)
    value, place = row[column], column
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError):
            value = loads(value)
    if isinstance(value, list) and len(value) == 1:
        value, place = value[0], f"{column}[0]"
    return _Messages(column, tags, tell).answer(value, place)


def openai(row: dict[str, Any], columns: Columns, tags: Tags, tell: Tell = untold) -> Conversation:
    """{"messages": [{"role", "content", "tool_calls"}]} -> turns, as `sharegpt` makes them.

    Nothing is added to the system text.

    Raises:
        RowError: as in `sharegpt`.
    """
    return sharegpt(row, columns, tags, tell)


def unread_keys(row: dict[str, Any], columns: Columns, tags: Tags) -> set[str]:
    """Keys of the row's messages that hold something and that nothing here looks at."""
    turns: list[Any] = []
    for column in (columns.messages, columns.response, columns.chosen, columns.rejected):
        found = row.get(column) if column is not None else None
        turns += found if isinstance(found, list) else [found]
    known = {tags.role_tag, tags.content_tag, *beside.KEYS}
    return {
        key
        for turn in turns
        if isinstance(turn, dict) and len(turn) > 2
        for key, value in turn.items()
        if key not in known and value is not None
    }


def _read(
    row: dict[str, Any],
    columns: Columns,
    tags: Tags,
    tell: Tell,
    *,
    answers: Sequence[str | None] = (),
) -> Conversation:
    """All messages of a row; with `answers`, the columns that hold what follows them."""
    column = columns.messages
    assert column is not None, "the registry lets no entry of messages through without it"
    if column not in row:
        missing(row, column)
    turns = items(row, column)
    system = optional(row, columns.system)
    reader = _Messages(column, tags, tell)
    first = 0
    if turns and reader.is_system(turns[0]):
        if system and system.strip():
            tell(f"system message at the start of {column!r}, so {columns.system!r} is not read")
        system, first = reader.content(turns[0], f"{column}[0]"), 1
    messages = reader.messages(turns, first, answers=" and ".join(map(str, answers)))
    return Conversation(messages, system, tools(row, columns.tools))


class _Messages:
    """Reads the messages of one row."""

    def __init__(self, column: str, tags: Tags, tell: Tell) -> None:
        assert tags.role_tag is not None, "the registry lets no entry through without it"
        assert tags.content_tag is not None, "the registry lets no entry through without it"
        self.column, self.tags, self.tell = column, tags, tell
        self.role_key, self.content_key = tags.role_tag, tags.content_tag
        named: list[tuple[str | None, Role]] = [
            (tags.user_tag, "user"),
            (tags.assistant_tag, "assistant"),
            (tags.observation_tag, "observation"),
            (tags.function_tag, "function"),
        ]
        self.roles: dict[str, Role] = {name: role for name, role in named if name is not None}
        self.system_roles = {tags.system_tag} - {None}
        if self.system_roles == {"system"}:
            self.system_roles.add("developer")  # OpenAI's newer word for the same

    def is_system(self, turn: Any) -> bool:
        """Whether the message is one that the system says."""
        said = turn.get(self.role_key) if isinstance(turn, dict) else None
        return isinstance(said, str) and said in self.system_roles

    def content(self, turn: dict[str, Any], place: str) -> str:
        """The text of a message that has nothing else."""
        if self.content_key not in turn:
            missing(turn, self.content_key, place=f"{place}.{self.content_key}", section="tags")
        return beside.content(turn[self.content_key], f"{place}.{self.content_key}")[0]

    def messages(self, turns: Sequence[Any], first: int, *, answers: str) -> tuple[Message, ...]:
        """All turns from `first` on, in order and complete: up to an answer, or to a question
        whose answers stand in the columns that `answers` names.

        Raises:
            RowError: the first that cannot be used.
        """
        found: list[Message] = []
        results = beside.Results(self.tell)
        for i in range(first, len(turns)):
            place = f"{self.column}[{i}]"
            role, said = self._role(turns[i], place)
            if role == "observation" and found and found[-1].role == "observation":
                found[-1] = results.join(found[-1], self._result(turns[i], place, results))
                continue
            message = self._message(role, turns[i], place, results)
            self._in_order(message.role, len(found), said, f"{place}.{self.role_key}")
            found.append(message)
        if not found:
            need = "a question" if answers else "a question and an answer"
            raise RowError.of("no messages", self.column, got=turns, need=need)
        if len(found) % 2 != bool(answers):
            place = f"{self.column}[{len(turns) - 1}].{self.role_key}"
            last, need = "answer", f"an answer at the end ({self.tags.assistant_tag})"
            if answers:
                last = "question"
                need = f"a question at the end ({self.tags.user_tag}); what follows is in {answers}"
            raise RowError.of(f"no {last} at the end", place, got=found[-1].role, need=need)
        return tuple(found)

    def answer(self, turn: Any, place: str) -> Message:
        """A message that stands alone and is an answer.

        Raises:
            RowError: it is none.
        """
        role, said = self._role(turn, place)
        message = self._message(role, turn, place, beside.Results(self.tell))
        if message.role not in ANSWERING:
            names = [n for n in (self.tags.assistant_tag, self.tags.function_tag) if n]
            need = f"an answer ({' or '.join(names)})"
            raise RowError.of("role out of order", f"{place}.{self.role_key}", got=said, need=need)
        return message

    def _role(self, turn: Any, place: str) -> tuple[Role, str]:
        if not isinstance(turn, dict):
            need = f"an object with {self.role_key} and {self.content_key}"
            got = "null" if turn is None else turn
            raise RowError.of("wrong type", place, got=got, need=need)
        place = f"{place}.{self.role_key}"
        if self.role_key not in turn:
            missing(turn, self.role_key, place=place, section="tags")
        said = turn[self.role_key]
        if not isinstance(said, str):
            raise RowError.of("wrong type", place, got=said, need="text in quotes")
        if said in self.roles:
            return self.roles[said], said
        if said in self.system_roles:
            need = "the system message first"
            raise RowError.of("role out of order", place, got=said, need=need)
        usual = {
            name: key
            for names in (OPENAI_TAGS, Tags())
            for key, name in names._asdict().items()
            if getattr(self.tags, key) is None
        }
        near = f'"{usual[said]}": "{said}" under tags' if said in usual else None
        known = ", ".join([*self.roles, *([self.tags.system_tag] if self.tags.system_tag else [])])
        hint = near or nearest(said, self.roles) or ""
        raise RowError.of(UNKNOWN_ROLE, place, got=said, need=f"one of {known}", hint=hint)

    def _message(
        self, role: Role, turn: dict[str, Any], place: str, results: beside.Results
    ) -> Message:
        said = turn.get(self.content_key)
        if len(turn) == 2 and role in ("user", "assistant") and isinstance(said, str):
            if role == "assistant":
                answer(said, f"{place}.{self.content_key}")
            return Message(role, said)  # most messages have nothing beside their words
        trained = False if beside.is_context(turn, place, self.tags) else None
        if role == "observation":
            said = self._result(turn, place, results)
            return Message(role, said, trained)
        results.expect([])
        calls = () if role == "user" else beside.calls(turn, place, results)
        where = f"{place}.{self.content_key}"
        if calls and turn.get(self.content_key) is None:
            said, thought = "", ""
        elif self.content_key not in turn:
            missing(turn, self.content_key, place=where, section="tags")
        else:
            said, thought = beside.content(turn[self.content_key], where)
        if role == "user":
            return Message(role, said, trained)
        thought = beside.thought(turn, place, said, thought)
        if role == "function" and not calls:
            answer(said, where)
            said, calls = beside.spoken_calls(said, where)
        if not calls:
            answer(said, where)
        return Message("function" if calls else "assistant", said, trained, calls, thought)

    def _result(self, turn: dict[str, Any], place: str, results: beside.Results) -> str:
        said = self.content(turn, place)
        results.add(turn, place)
        return said

    def _in_order(self, role: Role, position: int, said: str, place: str) -> None:
        if position % 2 == 0 and role not in ("user", "observation"):
            need = "a question (user or observation) before each answer"
        elif position % 2 and role not in ("assistant", "function"):
            need = "an answer (assistant or function call) after each question"
        else:
            return
        hint = "join the two messages into one" if position else ""
        raise RowError.of("role out of order", place, got=said, need=need, hint=hint)
