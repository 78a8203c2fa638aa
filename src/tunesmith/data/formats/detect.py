"""What rows look like: the entry that reads them, for data that nobody has described."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.errors import DataError
from tunesmith.templates.calls import loads

_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue")
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
    """The layout that fits all rows that were looked at.

    Raises:
        DataError: none does; names the columns that are there.
    """
    keys = {key for row in rows for key in row}
    for column in _LISTS:
        lists = [_listed(row.get(column)) for row in rows]
        if lists and all(lists):
            return _chat(where, column, [m for messages in lists for m in messages], keys)
    columns = {
        ours: next((name for name in names if name in keys), None)
        for ours, names in _COLUMNS.items()
    }
    if columns["prompt"] and columns["response"]:
        named = {ours: name for ours, name in columns.items() if name}
        said = ", ".join(f"{ours}: {name}" for ours, name in named.items())
        return Layout({"formatting": "alpaca", "columns": named}, f"alpaca ({said})")
    raise DataError(
        where,
        got=f"columns {', '.join(sorted(keys)) or 'none'}",
        need="a list of messages (messages, conversations), or a question and an answer column "
        "(instruction and output, prompt and response …)",
        hint="name the columns in dataset_info.json yourself",
    )


def looks_like(row: Mapping[str, Any]) -> str:
    """The lines to add to an entry whose row is plainly a list of messages; "" if it is not."""
    if not any(_listed(row.get(column)) for column in _LISTS):
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


def _chat(where: str, column: str, messages: list[Any], keys: set[str]) -> Layout:
    first = next((m for m in messages if isinstance(m, dict)), {})
    role = next((key for key in ("role", "from") if key in first), None)
    content = next((key for key in ("content", "value") if key in first), None)
    if role is None or content is None:
        raise DataError(
            f"{where}: {column}", got=f"messages with {', '.join(first) or 'no keys'}",
            need="role and content, or from and value",
        )  # fmt: skip
    found = {str(m.get(role)) for m in messages if isinstance(m, dict)}
    columns = {"messages": column, **{key: key for key in ("system", "tools") if key in keys}}
    beside = any(isinstance(m, dict) and m.get("tool_calls") for m in messages)
    name = "openai" if beside or "tool" in found else "sharegpt"
    tags = {"role_tag": role, "content_tag": content}
    for ours, names in _ROLES.items():
        tags[f"{ours}_tag"] = next((word for word in names if word in found), names[0])
    if name == "openai" and "tool" not in found:
        tags["observation_tag"] = "tool"
    entry = {"formatting": name, "columns": columns, "tags": tags}
    return Layout(entry, f"{name} ({column}: {role}, {content}; {', '.join(sorted(found))})")
