"""What a chat reads and writes: tool definitions, and conversations as rows to train on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tunesmith import store
from tunesmith.cli.written import new_file
from tunesmith.errors import ConfigError, DataError
from tunesmith.types import Conversation, Message

_ROLES = {"user": "user", "observation": "tool", "assistant": "assistant", "function": "assistant"}
_KINDS = (".json", ".jsonl")


def tools_in(path: Path, *, where: str) -> tuple[str, list[str]]:
    """Tool definitions of a file as text, and their names.

    Args:
        path: JSON, as in the `tools` column of rows.
        where: that names it, for the error.

    Raises:
        ConfigError: it cannot be read, or is no list of definitions.
    """
    need = "a readable file of tool definitions (JSON)"
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise ConfigError(where, got=got, need=need) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, got=str(error), need="a JSON list of tool definitions") from None
    listed = found if isinstance(found, list) else [found]
    return text, [_checked(one, f"{where}: [{i}]") for i, one in enumerate(listed)]


def _checked(tool: Any, where: str) -> str:
    """Name of a tool whose parameters are a JSON schema of an object.

    Raises:
        ConfigError: it is no definition of a tool.
    """
    bare = tool.get("function", tool) if isinstance(tool, dict) else None
    name = bare.get("name") if isinstance(bare, dict) else None
    if not isinstance(bare, dict) or not isinstance(name, str) or not name:
        need = (
            '{"name": …, "description": …, "parameters": …}, as in a JSON list of tool definitions'
        )
        raise ConfigError(where, got=tool, need=need)
    parameters = bare.get("parameters")
    if parameters is None:
        return name
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        need = 'a JSON schema of an object: {"type": "object", "properties": {…}}'
        raise ConfigError(f"{where}.parameters ({name})", got=parameters, need=need)
    _check_schema(parameters, f"{where}.parameters ({name})")
    return name


_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")


def _check_schema(schema: Any, where: str) -> None:
    """Hold the keywords that tools use to what JSON schema says of them.

    Raises:
        ConfigError: one that is none.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ConfigError(where, got=schema, need="a JSON schema, which is an object")
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            raise ConfigError(f"{where}.type", got=kind, need=f"one of {', '.join(_TYPES)}")
    for key, kind, need in (
        ("properties", dict, "an object of JSON schemas by name"),
        ("required", list, "a list of names"),
        ("enum", list, "a list of values"),
    ):
        if key in schema and not isinstance(schema[key], kind):
            raise ConfigError(f"{where}.{key}", got=schema[key], need=need)
    if any(not isinstance(name, str) for name in schema.get("required", ())):
        raise ConfigError(f"{where}.required", got=schema["required"], need="a list of names")
    for name, inner in schema.get("properties", {}).items():
        _check_schema(inner, f"{where}.properties.{name}")
    if "items" in schema:
        _check_schema(schema["items"], f"{where}.items")


def row_of(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a row in OpenAI's layout: read again, it is the same conversation."""
    said = [{"role": "system", "content": conversation.system}] if conversation.system else []
    row: dict[str, Any] = {"messages": [*said, *map(_message, conversation.messages)]}
    if conversation.media:
        row["images"] = [os.path.abspath(str(medium.source)) for medium in conversation.media]
    # as text: numbers and the order of keys stay what the model has been shown
    return row if conversation.tools is None else {**row, "tools": conversation.tools}


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": _ROLES[message.role], "content": message.content}
    if message.calls:
        made["tool_calls"] = [
            {"type": "function", "function": call._asdict()} for call in message.calls
        ]
    return made


def save(name: str, conversation: Conversation) -> str:
    """Write a conversation as one more row of a file; what to tell about it.

    Args:
        name: of the file: `.jsonl` gets one more line, `.json` holds a list.
        conversation: with an answer at its end.

    Raises:
        ConfigError: no name, or one that no row can be written to.
        DataError: nothing has been said, or an answer is empty.
        StoreError: the file cannot be written.
    """
    where, path = f"/save {name}".rstrip(), Path(name).expanduser()
    if path.suffix not in _KINDS:
        need = "the name of a file that ends in .jsonl or .json"
        raise ConfigError(where, got=name or "no name", need=need)
    if not conversation.messages:
        raise DataError(where, got="no question yet", need="a conversation")
    empty = [m for m in conversation.messages[1::2] if not (m.content.strip() or m.calls)]
    if empty:
        hint = "/undo, or /regenerate"
        raise DataError(where, got="an empty answer", need="answers to learn from", hint=hint)
    path = new_file(
        "/save", path, what="rows of messages", is_one=lambda file: _rows(file, where) is not None
    )
    row = row_of(conversation)
    if path.suffix == ".jsonl":
        _end_last_line(path)
        store.append_line(path, json.dumps(row, ensure_ascii=False), sync=True)
    else:
        store.write_json(path, [*(_rows(path, where) or []), row] if path.exists() else [row])
    answers = len(conversation.messages) // 2
    count = "1 answer" if answers == 1 else f"{answers} answers"
    return f"saved to {path}: {count} as one row; dataset: {_as_dataset(path)} trains on it"


def _rows(path: Path, where: str) -> list[Any] | None:
    """Rows of messages in a file, of `.jsonl` the first; `None`: something else stands there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            found = [json.loads(line) for line in text.splitlines()[:1]]
        else:
            found = json.loads(text)
    except OSError as error:
        need = "a file that can be read"
        raise ConfigError(where, got=error.strerror, need=need) from None
    except (ValueError, RecursionError):
        return None
    ours = isinstance(found, list) and all(
        isinstance(row, dict) and "messages" in row for row in found[:1]
    )
    return found if ours else None


def _end_last_line(path: Path) -> None:
    """A line that another program has left without its end gets one."""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            if file.read() == b"\n":
                return
        store.append_line(path, "", sync=True)


def _as_dataset(path: Path) -> str:
    """The path as `dataset` takes it: with a directory, lest it be a name of the registry."""
    return str(path) if len(path.parts) > 1 else f"./{path}"
