"""What a template file says: the strings of one family, validated, and nothing that acts.

A file holds one or more YAML documents, one template each. `like: chatml` takes over another
template and states only what differs (roles are laid over each other key by key).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tunesmith.errors import TemplateError
from tunesmith.templates import conversation, tools
from tunesmith.templates.documents import documents
from tunesmith.templates.keys import follow, takes


class Part(BaseModel):
    """Base of everything in a template file: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Special(Part):
    """`bos` or `eos`: the tokenizer's own begin or end token, whatever its text is.

    `start`: bos where the tokenizer itself puts it before a text, else nothing.
    """

    special: Literal["bos", "eos", "start"]
    """Which one."""


class Token(Part):
    """Text that must be exactly one token of the vocabulary."""

    token: Annotated[str, Field(min_length=1)]
    """The text; a tokenizer without such a token is refused."""


class Round(Part):
    """The number of the question, counted from this one."""

    round: int
    """The number of the first question."""


class Later(Part):
    """Text that stands in the opening of every question but the first."""

    later: str
    """The text."""


Piece = str | Special | Token | Round | Later


def _as_pieces(value: Any) -> Any:
    if isinstance(value, (str, Mapping)):
        return (value,) if value != "" else ()
    return value


Text = Annotated[tuple[Piece, ...], BeforeValidator(_as_pieces)]


def _known_tools(name: str) -> str:
    if name not in tools.names():
        raise ValueError("unknown")
    return name


"""A string, `{special: eos}`, `{token: sop}`, `{round: 1}`, `{later: x}`, or a list of those."""


class Turn(Part):
    """What stands around one speaker's words."""

    open: Text = ()
    """Header, before the words. Of an answer, it is part of what serving sends."""
    lead: Text = ()
    """Of an answer: what the model itself says before its words; learned like them."""
    stop: Text = ()
    """End of the turn. Of an answer, it is learned: what the model ends its answers with."""
    after: Text = ()
    """What follows the end of the turn; never learned, because nobody generates it."""
    then: Text | None = None
    """Of a tool's result: the header of the answer that follows it, where that is another one."""


class Roles(Part):
    """The speakers."""

    system: Turn | None = Turn()
    """The system text; null: a template that cannot express one, so that it is refused."""
    user: Turn
    """A question."""
    assistant: Turn = Turn(stop=(Special(special="eos"),))
    """An answer; its words and its `stop` are learned."""
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
    """What begins a thought."""
    close: str
    """What ends it, before the answer itself."""
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
    """What it is found by: letters, digits, `_`, `.`, `-`; not given, the name of the file."""
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
    tool_format: Annotated[str, AfterValidator(_known_tools)] | None = "default"
    """How tools are described and called, by name. A null one is a template that cannot express
    tools, calls and results: they are refused."""
    tools: Turn = Turn()
    """What stands around the tools' description; both follow the system text."""
    trim_tools: bool = False
    """Without a system text before them, the line breaks that they begin with are left out."""
    between: str | None = None
    """What parts an answer's words from its calls; null: what the tool format says."""
    roles: Roles
    """What stands around the words of each speaker."""
    stop_words: tuple[str, ...] = ()
    """Strings besides eos at which `chat`, exports and engines end an answer."""
    replace_eos: bool = False
    """The first stop word takes the place of the tokenizer's eos."""
    efficient_eos: bool = False
    """One eos after the last answer of a conversation instead of one after every answer."""
    open_ended: bool = False
    """Answers are meant to have no end that is learned; without this such a template is refused."""
    replace_jinja: bool = False
    """The template is written into the tokenizer even where the model brings its own."""
    thinking: Thinking | None = None
    """How thoughts are marked; null: not at all. Where they are, an answer without one gets an
    empty one in front (see `enable_thinking`)."""

    def with_tool_format(self, name: str) -> Format:
        """The same template with the tools of another syntax.

        What the file says of tools and calls belongs to its own syntax and goes with it: a call
        ends with eos, whatever ended it before. Where one eos follows the last answer only, it
        ends as an answer does.
        """
        answer = self.roles.assistant
        call = Turn(stop=answer.stop, after=answer.after)
        if not self.efficient_eos:
            call = Turn(stop=(Special(special="eos"),))
        roles = self.roles.model_copy(update={"function": call})
        others = {"tools": Turn(), "trim_tools": False, "between": None, "roles": roles}
        return self.model_copy(update={"tool_format": name, **others})


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
    told = documents(text, where)
    for document in told:
        if not isinstance(document, dict):
            need = "a mapping with name and roles in every document"
            raise TemplateError(where, got=document, need=need)
        base = None
        if "like" in document and not conversation.is_one(document):
            base = _parent(document, told, where, lambda name: found.get(name) or parent(name))
        format = _one(document, where, base)
        if format.name in found:
            raise TemplateError(f"{where}: name", got=format.name, need="a name used only once")
        found[format.name] = format
    if not found:
        raise TemplateError(where, got="an empty file", need="at least one template")
    return found


def _one(document: dict[str, Any], where: str, base: Format | None) -> Format:
    fields = dict(document)
    separated = conversation.is_one(fields)
    if separated:
        told = conversation.read(fields, where)
        fields = told.template()
        if not told.named:
            del fields["name"]
    if base is not None:
        del fields["like"]
        below = {k: v for k, v in base.model_dump().items() if k not in ("name", "models")}
        fields = _laid_over(below, fields)
    fields.setdefault("name", _of_file(where))
    format = from_fields(fields, where)
    if not separated:  # its `messages` are somebody's words
        _refuse_braces(format, f"{where}: {format.name}")
    return format


_BRACES = re.compile(r"\{\{\s*\w+\s*\}\}")


def _refuse_braces(format: Format, where: str) -> None:
    """`{{content}}` is how LLaMA-Factory writes a place; here it would be taken by the letter."""
    turns = {"tools": format.tools}
    turns |= {f"roles.{name}": turn for name, turn in format.roles if turn is not None}
    texts = {f"{key}.{name}": text for key, turn in turns.items() for name, text in turn}
    for place, text in {"prefix": format.prefix, **texts}.items():
        for piece in text or ():
            if isinstance(piece, str) and _BRACES.search(piece):
                raise TemplateError(
                    f"{where}.{place}",
                    got=piece,
                    need=f"a slot that exists: {takes(Text)}",
                    hint="the words stand between `open` and `stop`: what is before {{content}} "
                    "is `open`, what is after it `stop`; for {{idx}} write {round: 0} in a list",
                )


def _of_file(where: str) -> str:
    """The name of a template that says none."""
    return re.sub(r".*/|\.ya?ml$", "", where)


def _parent(
    document: dict[str, Any], all_told: list[Any], where: str, find: Callable[[str], Format]
) -> Format:
    """The template that a document's `like` names."""
    name = document["like"]
    if not isinstance(name, str):
        raise TemplateError(f"{where}: like", got=name, need="the name of one template")
    try:
        return find(name)
    except TemplateError as error:
        mappings = [one for one in all_told if isinstance(one, dict)]
        own = _of_file(where)
        likes = {str(one.get("name", own)): str(one.get("like", "")) for one in mappings}
        if name not in likes:
            need = "a template that is shipped, or stands above it in this file"
            hint = error.hint or "tunesmith template list"
            raise TemplateError(f"{where}: like", got=name, need=need, hint=hint) from None
    path = [str(document.get("name", own)), name]
    while likes[path[-1]] in likes and path[-1] not in path[:-1]:
        path.append(likes[path[-1]])
    got, need = " like ".join(path), "a template that stands above it in the file"
    if path[-1] in path[:-1]:
        got, need = f"a cycle: {got}", "no template that is like itself"
    raise TemplateError(f"{where}: like", got=got, need=need)


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


def _refusal(error: ValidationError, where: str) -> TemplateError:
    """The first mistake in words: a key that is not there before one that is missing for it."""
    places = [(one, _place(one["loc"])) for one in error.errors(include_url=False)]
    unknown = (
        (one, place) for one, place in places
        if one["type"] == "extra_forbidden" and not _PIECES & {*map(str, one["loc"])}
    )  # fmt: skip
    first, place = next(unknown, places[0])
    holder, annotation = follow(Format, place)
    full = ".".join([where, *place])
    if first["type"] == "extra_forbidden" and annotation is None:
        known = (*holder.model_fields, *(("like",) if holder is Format else ()))
        near = difflib.get_close_matches(place[-1], known, 1)
        need = f"a key of {_CALLED[holder.__name__]}: {', '.join(known)}"
        return TemplateError(full, need=need, hint="".join(near))
    if first["type"] == "missing":
        return TemplateError(full, got="nothing", need=takes(annotation))
    if place == ["tool_format"] and isinstance(first["input"], str):
        near = difflib.get_close_matches(first["input"], tools.names(), 3, cutoff=0.4)
        need = f"one of {', '.join(tools.names())}"
        return TemplateError(full, got=first["input"], need=need, hint=" or ".join(near))
    hint = f"tool_format: {first['input']}" if place == ["tools"] else ""
    if _PIECES & {*map(str, first["loc"])}:
        hint = _near_slot(first["input"])
    need = (
        f"{takes(annotation)} (letters, digits, _ . -)" if place == ["name"] else takes(annotation)
    )
    return TemplateError(full, got=first["input"], need=need, hint=hint)


_CALLED = {
    "Format": "a template",
    "Roles": "roles",
    "Turn": "a turn",
    "Thinking": "thinking",
    "Earlier": "thinking.earlier",
}
_ELSEWHERE = {"bos_token": "special: bos", "eos_token": "special: eos"}
"""Slots as LLaMA-Factory writes them, and what they are here."""
_PIECES = {"str", "Special", "Token", "Round", "Later"}
"""What pydantic puts into the place of an error for the kinds that a text may be of."""


def _near_slot(got: Any) -> str:
    """The slot that a mistyped one may mean."""
    if not isinstance(got, Mapping) or len(got) != 1:
        return ""
    ((key, value),) = got.items()
    slots = [name for part in (Special, Token, Round, Later) for name in part.model_fields]
    near = difflib.get_close_matches(key, slots, 1)
    slot = _ELSEWHERE.get(key) or "".join(f"{one}: {value}" for one in near if one != key)
    return f"{{{slot}}}" if slot else ""


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """The keys of a template file that lead to a mistake; numbers of a list are left out."""
    names = [str(part) for part in loc if isinstance(part, str)]
    kinds = [number for number, name in enumerate(names) if name in _PIECES]
    return names[: kinds[0]] if kinds else names
