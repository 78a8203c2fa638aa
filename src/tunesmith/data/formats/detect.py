"""What rows look like: the entry that reads them, for data that nobody has described."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.values import of_python
from tunesmith.errors import DataError
from tunesmith.templates.calls import loads

_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue")
_PAIR = ("chosen", "rejected")
_LABELS = ("kto_tag", "label")
_MEDIA = {
    "images": ("<image>", ("images", "image")),
    "videos": ("<video>", ("videos", "video")),
    "audios": ("<audio>", ("audios", "audio")),
}
MEDIA_NAMES = tuple(name for _, names in _MEDIA.values() for name in names)
"""Columns that may hold media where nobody has said which do."""
_ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model"),
    "system": ("system", "developer"),
    "observation": ("observation", "tool", "function_response"),
    "function": ("function_call", "function", "tool_call"),
}
_KEYS = ("role_tag", "content_tag")
_COLUMNS = {
    "prompt": ("instruction", "prompt", "question", "query"),
    "query": ("input", "context"),
    "response": ("output", "response", "answer", "completion"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools",),
}

_ONE_MESSAGE = (
    "each row is one message; a row has to hold a whole conversation, as a list of such messages "
    "in one column"
)
_DESCRIBE = (
    'name the columns yourself: dataset: {"file_name": …, "columns": {"prompt": …, "response": …}}'
)


class Layout(NamedTuple):
    """What the rows look like."""

    entry: dict[str, Any]
    """For `dataset_info.json`, without the file."""
    said: str
    """In one line, for the user."""


def detect(where: str, rows: Sequence[Mapping[str, Any]]) -> Layout:
    """The layout that fits the rows that were looked at, if need be not all of them.

    Raises:
        DataError: none does; names the columns that are there.
    """
    keys = {key for row in rows for key in row}
    pairs = 2 * sum(all(row.get(key) for key in _PAIR) for row in rows) > len(rows)
    beside = _beside(rows, pairs=pairs)
    lists = {
        column: [listed(row.get(column)) for row in rows]
        for column in (*_LISTS, *(("prompt",) if pairs else ()))
    }
    said = [m for row in rows for key in _PAIR if pairs for m in _answers(row.get(key))]
    for column, found in lists.items():
        if found and all(found):
            return _with(_chat(where, column, [*found, said], keys), beside, pairs=pairs)
    columns = {
        ours: next((name for name in names if name in keys), None)
        for ours, names in _COLUMNS.items()
    }
    if columns["prompt"] and (columns["response"] or pairs):
        named = {ours: name for ours, name in columns.items() if name}
        if pairs:
            named.pop("response", None)
        words = ", ".join(f"{ours}: {name}" for ours, name in named.items())
        layout = Layout({"formatting": "alpaca", "columns": named}, f"alpaca ({words})")
        return _with(layout, beside, pairs=pairs)
    for column, found in lists.items():
        if any(found):  # the other rows are bad ones, told with their places
            return _with(_chat(where, column, [*found, said], keys), beside, pairs=pairs)
    texts = [row[column] for row in rows for column in _LISTS if isinstance(row.get(column), str)]
    raise DataError(
        where,
        got=f"columns {', '.join(sorted(keys)) or 'none'}",
        need="a list of messages (messages, conversations), or a question and an answer column "
        "(instruction and output, prompt and response …)",
        hint=next(filter(None, map(of_python, texts)), "")
        or (_ONE_MESSAGE if any(map(_one_message, rows)) else _DESCRIBE),
    )


def _beside(rows: Sequence[Mapping[str, Any]], *, pairs: bool) -> dict[str, str]:
    """Columns that say more about the answers than their words: a pair, a label, media."""
    found = {key: key for key in _PAIR if pairs}
    for name in () if pairs else _LABELS:
        if {type(row.get(name)) for row in rows} - {type(None)} == {bool}:
            found.setdefault("kto_tag", name)
    for key, (placeholder, names) in _MEDIA.items():
        column = next((name for name in names if any(row.get(name) for row in rows)), None)
        if column and any(placeholder in str(row) for row in rows):
            found[key] = column
    return found


def _with(layout: Layout, beside: dict[str, str], *, pairs: bool) -> Layout:
    if not beside:
        return layout
    entry = {**layout.entry, "columns": {**layout.entry["columns"], **beside}}
    if pairs:
        entry = {"ranking": True, **entry}
    said = ", ".join(f"{key}: {name}" for key, name in beside.items())
    return Layout(entry, f"{layout.said} with {said}")


def _answers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def only_text(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the rows hold running text and nothing else."""
    return all(list(row) == ["text"] for row in rows)


def looks_like(row: Mapping[str, Any], columns: Columns, tags: Tags, *, formatting: str) -> str:
    """What to add to an entry whose row plainly has another layout; "" if it has not.

    Args:
        row: one that the entry does not read.
        columns: of the entry.
        tags: the same.
        formatting: the same.
    """
    if only_text([row]):
        return 'the row is running text, which has no answers: "formatting": "text" in its entry'
    if _one_message(row):
        return _ONE_MESSAGE
    try:
        layout = detect("", [row])
    except DataError:
        return ""
    named, roles = layout.entry["columns"], layout.entry.get("tags", {})
    turns = listed(row.get(named.get("messages")))
    said = [turn.get(roles["role_tag"]) for turn in turns if isinstance(turn, dict)]
    if len(said) < len(turns) or not all(role in roles.values() for role in said):
        return ""
    names = {key: name for key, name in roles.items() if name in said or key in _KEYS}
    before = columns._asdict() | tags._asdict()
    same = bool(roles) == (formatting in ("sharegpt", "openai"))
    if same and all(before[key] == name for key, name in (named | names).items()):
        return ""  # the entry says so; something in the row is wrong
    lines = json.dumps(layout.entry, ensure_ascii=False)[1:-1]
    return f"the row looks like {layout.said}; add to its entry: {lines}"


def _one_message(row: Mapping[str, Any]) -> bool:
    return any(set(names) <= set(row) for names in (("from", "value"), ("role", "content")))


def listed(value: Any) -> list[Any]:
    """The messages of a column: a list, or in a table its JSON text; empty where it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = loads(value)
        except ValueError:
            return []
    return value if isinstance(value, list) else []


def _chat(where: str, column: str, lists: Sequence[list[Any]], keys: set[str]) -> Layout:
    messages = [message for found in lists for message in found if isinstance(message, dict)]
    keys_of = list(dict.fromkeys(key for message in messages for key in message))
    role = next((key for key in ("role", "from") if key in keys_of), None)
    content = next((key for key in ("content", "value") if key in keys_of), None)
    if role is None or content is None:
        raise DataError(
            f"{where}: {column}", got=f"messages with {', '.join(keys_of) or 'no keys'}",
            need="role and content, or from and value",
        )  # fmt: skip
    found = {str(message.get(role)) for message in messages}
    columns = {"messages": column, **{key: key for key in ("system", "tools") if key in keys}}
    beside = any(message.get("tool_calls") for message in messages)
    name = "openai" if beside or "tool" in found else "sharegpt"
    tags = {"role_tag": role, "content_tag": content}
    for ours, names in _ROLES.items():
        tags[f"{ours}_tag"] = next((word for word in names if word in found), names[0])
    if name == "openai" and "tool" not in found:
        tags["observation_tag"] = "tool"
    entry = {"formatting": name, "columns": columns, "tags": tags}
    return Layout(entry, f"{name} ({column}: {role}, {content}; {', '.join(sorted(found))})")
