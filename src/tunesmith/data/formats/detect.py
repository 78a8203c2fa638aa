"""What rows look like: the entry that reads them, for data that nobody has described."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
_COLUMNS = {
    "prompt": ("instruction", "prompt", "question", "query"),
    "query": ("input", "context"),
    "response": ("output", "response", "answer", "completion"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools",),
}


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
    pairs = bool(rows) and all(row.get(key) for row in rows for key in _PAIR)
    beside = _beside(rows, pairs=pairs)
    lists = {
        column: [_listed(row.get(column)) for row in rows]
        for column in (*_LISTS, *(("prompt",) if pairs else ()))
    }
    said = [m for row in rows for key in _PAIR if pairs for m in _answers(row[key])]
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
        or "name the columns in dataset_info.json yourself",
    )


def _beside(rows: Sequence[Mapping[str, Any]], *, pairs: bool) -> dict[str, str]:
    """Columns that say more about the answers than their words: a pair, a label, media."""
    found = {key: key for key in _PAIR if pairs}
    labels = (n for n in _LABELS if all(isinstance(row.get(n), bool) for row in rows))
    label = next(labels, None)
    if rows and label and not pairs:
        found["kto_tag"] = label
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


def looks_like(row: Mapping[str, Any]) -> str:
    """The lines to add to an entry whose row is plainly a list of messages; "" if it is not."""
    pairs = all(row.get(key) for key in _PAIR)
    if not pairs and not any(_listed(row.get(column)) for column in _LISTS):
        return ""
    try:
        layout = detect("", [row])
    except DataError:
        return ""
    lines = json.dumps(layout.entry, ensure_ascii=False)[1:-1]
    return f"the row looks like {layout.said}; add to its entry: {lines}"


def _listed(value: Any) -> list[Any]:
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
