"""One dataset as it is described: in the registry, or inline in the run file; checked, not read.

As for LLaMA-Factory: without `columns` the usual names hold; with `columns` a column that is
not named there is not read. The same for `tags`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config.kinds import ENTRY_KEYS, ENTRY_SOURCES
from tunesmith.errors import DataError


class Columns(NamedTuple):
    """What the columns of a row are called; `None`: not read."""

    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = "conversations"
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None


class Tags(NamedTuple):
    """What the keys and roles of a message are called; `None`: there is no such role."""

    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"


SHAREGPT_COLUMNS = Columns(prompt=None, query=None, response=None)
OPENAI_COLUMNS = SHAREGPT_COLUMNS._replace(messages="messages", system="system", tools="tools")
OPENAI_TAGS = Tags("role", "content", "user", "assistant", "tool", "function_call", "system")
"""The names of OpenAI's chat format; there, calls stand beside an answer in `tool_calls`."""
_USUAL = {  # formatting -> columns and tags of an entry that names none
    "alpaca": (Columns(), Tags()),
    "sharegpt": (SHAREGPT_COLUMNS, Tags()),
    "openai": (OPENAI_COLUMNS, OPENAI_TAGS),
    "text": (Columns(prompt="text"), Tags()),
}


class Entry(NamedTuple):
    """One dataset, ready to be fetched and read."""

    name: str
    paths: tuple[Path, ...]
    """Files or folders with its rows, in order; empty until a remote one has been fetched."""
    formatting: str | None
    """`None`: what the rows look like decides (`formats.detect`)."""
    columns: Columns
    tags: Tags
    place: str
    """`dataset_info.json:12: name` or `run.yaml:7: dataset`, for errors about the entry."""
    ranking: bool = False
    """Whether a row holds two answers, of which one is preferred."""
    explicit_columns: bool = False
    """Whether the entry names its columns itself."""
    explicit_tags: bool = False
    source: str = "file_name"
    """The key that says where the rows are."""
    value: str = ""
    """Its value."""
    base: Path = Path()
    """Directory that relative paths begin at: of the registry, or of the data file that a run
    names itself."""
    subset: str | None = None
    split: str = "train"
    folder: str | None = None
    num_samples: int | None = None
    fill: Mapping[str, str] = {}
    """What `{{name}}` in a text stands for."""
    plain: bool = False
    """Whether the run names a path alone, so that there is no entry in which something could be
    added."""


_KINDS: dict[str, type] = {
    "ranking": bool,
    "num_samples": int,
    "columns": dict,
    "tags": dict,
    "fill": dict,
}
"""What the values are that are no text."""
_OF_HUBS = {  # key -> what does the same for a local file
    "subset": "a file that holds only these rows",
    "split": "a file that holds only these rows",
    "folder": "file_name with the folder in it",
}
_PAIR = ("chosen", "rejected")
"""Columns of a preference: no others of that name are usual, so they are usual in all layouts."""
_WORDS = {str: "text in quotes", bool: "true or false", int: "a whole number", dict: "an object"}


class Reader:
    """Checks one entry.

    Args:
        name: of the dataset.
        base: directory that relative paths begin at.
        place: from the keys that lead to a value to its place, for errors.
    """

    def __init__(self, name: str, base: Path, place: Callable[..., str]) -> None:
        self.name, self.base, self.place = name, base, place

    def entry(self, found: Any) -> Entry:
        """The entry, whose file is there and whose names fit its layout.

        Raises:
            DataError: a key, column or tag that does not exist, a value of another type, a
                layout or column that is not read, a file that is not there.
        """
        if not isinstance(found, dict):
            raise DataError(self.place(), got=kind(found), need="an object with file_name")
        self._known(found, ENTRY_KEYS, ())
        for key, value in found.items():
            wanted = _KINDS.get(key, str)
            if value is not None and (
                not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)
            ):
                raise DataError(self.place(key), got=value, need=_WORDS[wanted])
        formatting = found.get("formatting") or "alpaca"
        if formatting not in _USUAL:
            hint = nearest(formatting, _USUAL)
            need = f"one of {', '.join(_USUAL)}"
            raise DataError(self.place("formatting"), got=formatting, need=need, hint=hint or "")
        usual_columns, usual_tags = _USUAL[formatting]
        ranking = bool(found.get("ranking"))
        if ranking:
            usual_columns = usual_columns._replace(response=None, **{key: key for key in _PAIR})
        columns = Columns(**self._names(found, "columns", usual_columns._asdict()))
        tags = Tags(**self._names(found, "tags", usual_tags._asdict()))
        source = next((key for key in ENTRY_SOURCES if found.get(key)), None)
        if source is None:
            need = "file_name: a data file or a folder of them"
            raise DataError(self.place(), got="no file_name", need=need)
        paths = (self._path(found),) if source == "file_name" else ()
        self._fits_source(found, source)
        self._fits(formatting, columns, tags, ranking=ranking)
        return Entry(
            self.name, paths, formatting, columns, tags, self.place(), ranking=ranking,
            explicit_columns=found.get("columns") is not None,
            explicit_tags=found.get("tags") is not None,
            source=source, value=found[source], base=self.base,
            subset=found.get("subset"), split=found.get("split") or "train",
            folder=found.get("folder"), num_samples=self._num_samples(found),
            fill=self._fill(found),
        )  # fmt: skip

    def _known(self, found: dict[str, Any], known: Iterable[str], path: tuple[str, ...]) -> None:
        for key in found:
            if key not in known:
                hint = nearest(key, known)
                raise DataError(
                    self.place(*path, key),
                    got="a key that the registry does not have",
                    need=f"one of {', '.join(known)}",
                    hint=f'"{hint}"' if hint else "",
                )

    def _names(
        self, found: dict[str, Any], section: str, usual: dict[str, str | None]
    ) -> dict[str, str | None]:
        given = found.get(section)
        if given is None:
            return usual
        self._known(given, usual, (section,))
        for key, value in given.items():
            if value is not None and not isinstance(value, str):
                raise DataError(self.place(section, key), got=value, need=_WORDS[str])
        return {key: given.get(key) for key in usual}

    def _path(self, found: dict[str, Any]) -> Path:
        name, place = Path(found["file_name"]), self.place("file_name")
        path = self.base / at_home(name, place)
        absent = why_absent(path)
        if absent:
            hint = like(path)
            near = f'"file_name": "{name.with_name(hint)}"' if hint else ""
            raise DataError(place, got=f"{absent}: {path}", need="a file", hint=near)
        return path

    def _num_samples(self, found: dict[str, Any]) -> int | None:
        count = found.get("num_samples")
        if count is not None and count < 1:
            raise DataError(self.place("num_samples"), got=count, need="a number of rows, from 1")
        return count

    def _fill(self, found: dict[str, Any]) -> dict[str, str]:
        fill = found.get("fill") or {}
        for key, value in fill.items():
            if not re.fullmatch(r"[A-Za-z_]\w*", key):
                need = "the name of a placeholder, without its braces"
                raise DataError(self.place("fill", key), got=key, need=need)
            if not isinstance(value, str):
                raise DataError(self.place("fill", key), got=value, need=_WORDS[str])
        return fill

    def _fits_source(self, found: dict[str, Any], source: str) -> None:
        for key, instead in _OF_HUBS.items():
            usual = "train" if key == "split" else None
            if source in ("file_name", "cloud_file_name") and found.get(key) not in (None, usual):
                raise DataError(
                    self.place(key),
                    got=f"{key}: {found[key]}, which a {source} does not have",
                    need=instead,
                )

    def _fits(self, formatting: str, columns: Columns, tags: Tags, *, ranking: bool) -> None:
        self._fits_answers(formatting, columns, ranking=ranking)
        usual_columns, usual_tags = _USUAL[formatting]
        usual_columns = usual_columns._replace(**{key: key for key in _PAIR})
        answers = _PAIR if ranking else ("response",) if formatting == "alpaca" else ()
        needed = {key: getattr(columns, key) for key in answers}
        if formatting in ("alpaca", "text"):
            either = columns.query if formatting == "alpaca" else None
            needed["prompt"] = columns.prompt or either
        else:
            needed["messages"] = columns.messages
        self._named("columns", formatting, needed, usual_columns._asdict())
        if formatting in ("sharegpt", "openai"):
            keys = ("role_tag", "content_tag", "user_tag", "assistant_tag")
            needed = {key: getattr(tags, key) for key in keys}
            self._named("tags", formatting, needed, usual_tags._asdict())
            self._apart(tags)

    def _named(
        self,
        section: str,
        formatting: str,
        needed: dict[str, str | None],
        usual: dict[str, str | None],
    ) -> None:
        text = f'; "formatting": "text" if {needed.get("prompt")!r} is running text'
        for key, value in needed.items():
            if value is None:
                raise DataError(
                    self.place(section),
                    got=f"no {key}: once {section} is there, what it does not name is not read",
                    need=f"{section}.{key} for formatting {formatting}",
                    hint=f'"{key}": "{usual[key]}"' + text * (key == "response"),
                )

    def _apart(self, tags: Tags) -> None:
        """No two keys of a message have one name, and no two roles."""
        keys = ("role_tag", "content_tag")
        for names in (keys, tuple(name for name in Tags._fields if name not in keys)):
            found: dict[str, str] = {}
            for name in names:
                value = getattr(tags, name)
                if value in found:
                    need = f"another name than {found[value]} has"
                    raise DataError(self.place("tags", name), got=value, need=need)
                if value is not None:
                    found[value] = name

    def _fits_answers(self, formatting: str, columns: Columns, *, ranking: bool) -> None:
        """One entry says one thing about its answers: plain, in pairs, or with a label."""
        named = [key for key in (*_PAIR, "kto_tag") if getattr(columns, key) is not None]
        if formatting == "text" and (ranking or named):
            place = self.place("ranking") if ranking else self.place("columns", named[0])
            got = "running text, which has no answers"
            raise DataError(place, got=got, need="a formatting with questions and answers")
        if ranking and columns.kto_tag is not None:
            raise DataError(
                self.place("columns", "kto_tag"),
                got="kto_tag beside ranking: true",
                need="pairs of answers, or answers with a label: one of the two",
            )
        if not ranking and set(named) & set(_PAIR):
            raise DataError(
                self.place("columns", named[0]),
                got=f"{named[0]} without ranking: nothing reads it",
                need="ranking: true, for pairs of a chosen and a rejected answer",
                hint=f'"ranking": true beside "columns"; or leave {named[0]} out',
            )


def spelled_out(entry: Entry) -> str:
    """The entry as it may stand in a registry or inline in a run file, with all its columns."""
    columns = entry.columns._asdict()
    first = ("prompt", "query") if entry.formatting == "alpaca" else ("messages",)
    order = (*first, "response", *(key for key in columns if key not in ("messages", *first)))
    said: dict[str, Any] = {entry.source: entry.value}
    said |= {"subset": entry.subset, "split": entry.split, "folder": entry.folder}
    said |= {"formatting": entry.formatting, "ranking": entry.ranking}
    said["columns"] = {key: columns[key] for key in order if columns[key] is not None}
    if entry.explicit_tags:
        said["tags"] = {key: name for key, name in entry.tags._asdict().items() if name}
    said |= {"num_samples": entry.num_samples, "fill": dict(entry.fill)}
    usual = {"split": "train", "formatting": "alpaca", "tags": Tags()._asdict()}
    usual |= {"ranking": False, "fill": {}}
    kept = {k: v for k, v in said.items() if v is not None and v != usual.get(k)}
    return json.dumps(kept, ensure_ascii=False)


def at_home(path: Path, place: str) -> Path:
    """A path whose ~ is the user's directory.

    Raises:
        DataError: it is that of a user who is not there.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        got = f"{path}: no such user"
        raise DataError(place, got=got, need="a path that is there; ./~ is a name") from None


def why_absent(path: Path) -> str | None:
    """Why there is nothing to open at a path; `None` where there is something."""
    try:
        path.stat()
    except FileNotFoundError:
        return "a link that leads nowhere" if path.is_symlink() else "no such file"
    except OSError as error:  # a loop of links, no permission
        return error.strerror
    except ValueError as error:  # a NUL in the name
        return str(error)
    return None


def like(path: Path) -> str | None:
    """The name beside a path that is not there which looks most like it."""
    try:
        return nearest(path.name, os.listdir(path.parent))
    except (OSError, ValueError):
        return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, if any does."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
