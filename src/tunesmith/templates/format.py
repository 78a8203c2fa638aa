"""What a template file says: the strings of one family, validated, and nothing that acts.

A file holds one or more YAML documents, one template each. `like: chatml` takes over another
template and states only what differs (roles are laid over each other key by key).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tunesmith.errors import TemplateError
from tunesmith.templates import conversation


class Part(BaseModel):
    """Base of everything in a template file: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Special(Part):
    """The tokenizer's own begin or end token, whatever its text is.

    `start` is bos where the tokenizer itself puts it before a text, else nothing.
    """

    special: Literal["bos", "eos", "start"]


class Token(Part):
    """Text that must be exactly one token of the vocabulary."""

    token: Annotated[str, Field(min_length=1)]


class Round(Part):
    """The number of the question, counted from `round`."""

    round: int


class Later(Part):
    """Text that stands in the opening of every question but the first."""

    later: str


Piece = str | Special | Token | Round | Later


def _as_pieces(value: Any) -> Any:
    if isinstance(value, (str, Mapping)):
        return (value,) if value != "" else ()
    return value


Text = Annotated[tuple[Piece, ...], BeforeValidator(_as_pieces)]
"""A string, `{special: eos}`, `{token: sop}`, `{round: 1}`, `{later: x}`, or a list of those."""


class Turn(Part):
    """What stands around one speaker's words."""

    open: Text = ()
    """Header, before the words. Of an answer, it is part of what serving sends."""
    lead: Text = ()
    """Of an answer: what the model itself says before its words; learned like them."""
    stop: Text = ()
    """End of the turn. Of an answer, it is learned."""
    after: Text = ()
    """What follows the end of the turn; never learned, because nobody generates it."""
    then: Text | None = None
    """Of a tool's result: the header of the answer that follows it, where that is another one."""


class Roles(Part):
    """The speakers. A null system is a template that cannot express one."""

    system: Turn | None = Turn()
    user: Turn
    assistant: Turn = Turn(stop=(Special(special="eos"),))
    observation: Turn | None = None
    """A tool's result; null: as if the user said it."""
    function: Turn | None = None
    """An answer that calls tools; null: as any answer. Its header is the answer's; its `lead`
    stands between what is said beside the calls and the calls."""


class Earlier(Part):
    """How an earlier answer stands whose thought is not shown, where that is not words alone."""

    lead: str = ""
    """Before its words."""
    stop: str = ""
    """What ends it, with a thought or without one, in place of what ends the last answer."""


class Thinking(Part):
    """How a family marks a thought inside an answer."""

    open: str
    close: str
    empty: str | None = None
    """A thought that is none; null: `open` and `close`."""
    history: Literal["strip", "since_user", "keep"] = "strip"
    """Thoughts of earlier answers: left out, kept since the last question (so that a chain of
    tool calls keeps its thoughts), or kept."""
    earlier: Earlier = Earlier()
    """What stands around the words of an earlier answer."""

    @property
    def none(self) -> str:
        """What stands where nothing was thought."""
        return self.open + self.close if self.empty is None else self.empty


class Format(Part):
    """One template, as its file says it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    models: tuple[str, ...] = ()
    """Patterns of model names that this template was made for; `*` is anything."""
    source: str = ""
    """Where the strings were taken from."""
    prefix: Text = ()
    """What every conversation starts with."""
    default_system: str | None = None
    """System text of a conversation that brings none."""
    system_style: Literal["own_turn", "inside_first_user"] = "own_turn"
    """Where the system text stands: before the first turn, or inside the first user turn."""
    system_always: bool = False
    """The system turn stands there even around no text."""
    tool_format: str | None = "default"
    """How tools are described and called: a module of `templates.tools`. A null one is a
    template that cannot express tools, calls and results."""
    tools: Turn = Turn()
    """What stands around the tools' description; both follow the system text."""
    trim_tools: bool = False
    """Without a system text before them, the line breaks that they begin with are left out."""
    between: str | None = None
    """What parts an answer's words from its calls; null: what the tool format says."""
    roles: Roles
    stop_words: tuple[str, ...] = ()
    """Strings besides eos that end an answer."""
    replace_eos: bool = False
    """The first stop word takes the place of the tokenizer's eos."""
    efficient_eos: bool = False
    """One eos after the last answer instead of one in every turn."""
    open_ended: bool = False
    """Answers are meant to have no end that is learned; without this such a template is refused."""
    replace_jinja: bool = False
    """The template is written into the tokenizer even where the model brings its own."""
    thinking: Thinking | None = None
    """An answer without a thought gets an empty one in front (see `enable_thinking`)."""


def read(text: str, where: str, parent: Callable[[str], Format]) -> dict[str, Format]:
    """All templates of a file's text, by name, in the file's order.

    Args:
        text: YAML, one document per template.
        where: the file, for errors.
        parent: finds the template that `like` names and this file does not hold.

    Raises:
        TemplateError: no YAML, an unknown key (nearest named), a wrong value.
    """
    found: dict[str, Format] = {}
    try:
        documents = list(YAML(typ="safe", pure=True).load_all(text))
    except YAMLError as error:
        raise TemplateError(where, got=str(error), need="a YAML file") from None
    for document in documents:
        if not isinstance(document, dict):
            need = "a mapping with name and roles in every document"
            raise TemplateError(where, got=document, need=need)
        format = _one(document, where, lambda name: found.get(name) or parent(name))
        if format.name in found:
            raise TemplateError(f"{where}: name", got=format.name, need="a name used only once")
        found[format.name] = format
    if not found:
        raise TemplateError(where, got="an empty file", need="at least one template")
    return found


def _one(document: dict[str, Any], where: str, parent: Callable[[str], Format]) -> Format:
    fields = dict(document)
    if conversation.is_one(fields):
        told = conversation.read(fields, where)
        fields = told.template()
        if not told.named:
            del fields["name"]
    if "like" in fields:
        name = str(fields.pop("like"))
        base = parent(name).model_dump()
        base = {key: value for key, value in base.items() if key not in ("name", "models")}
        fields = _laid_over(base, fields)
    fields.setdefault("name", re.sub(r".*/|\.ya?ml$", "", where))
    return from_fields(fields, where)


def from_fields(fields: Mapping[str, Any], where: str) -> Format:
    """The template that a whole document says.

    Raises:
        TemplateError: an unknown key (nearest named), a wrong value.
    """
    try:
        return Format.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error, f"{where}: {fields['name']}") from None


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    joined = dict(below)
    for key, value in above.items():
        nested = key == "roles" or (key in Roles.model_fields and isinstance(below.get(key), dict))
        mergeable = isinstance(value, dict) and isinstance(below.get(key), dict)
        joined[key] = _laid_over(below[key], value) if nested and mergeable else value
    return joined


_KEYS: dict[str, tuple[str, ...]] = {
    model.__name__: tuple(model.model_fields)
    for model in (Format, Roles, Turn, Thinking, Earlier, Special, Token, Round, Later)
}


def _refusal(error: ValidationError, where: str) -> TemplateError:
    first = error.errors(include_url=False)[0]
    pieces = ("str", "Special", "Token", "Round", "Later")
    place = [str(part) for part in first["loc"] if part not in pieces]
    full = ".".join([where, *place])
    if first["type"] != "extra_forbidden":
        got = first["input"] if first["type"] != "missing" else None
        return TemplateError(full, got=got, need=first["msg"][0].lower() + first["msg"][1:])
    holder = {1: "Format", 2: "Roles" if place[0] == "roles" else "Thinking"}.get(
        len(place), "Turn"
    )
    known = _KEYS[holder] + (("like",) if holder == "Format" else ())
    near = difflib.get_close_matches(place[-1], known, 1)
    hint = f"{near[0]}" if near else ""
    return TemplateError(full, need=f"a key of {holder}: {', '.join(known)}", hint=hint)
