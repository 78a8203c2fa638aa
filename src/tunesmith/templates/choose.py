"""Which template a run uses: the one it names, a file, or the model's own."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.templates.dated import DatedJinja
from tunesmith.templates.format import Thinking, read
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.render import Template
from tunesmith.templates.shape import Shape
from tunesmith.types import Conversation, Span, Tokenizer

MARK = re.compile(r"<[^\s<>]+>|\[/?[A-Z_]+\]")
"""What looks like a control token in a template's text."""


class Renderer(Protocol):
    """What lays a conversation out as text: a `Template` or the model's `OwnJinja`."""

    @property
    def name(self) -> str:
        """What the plan calls it."""
        ...

    @property
    def stop_words(self) -> tuple[str, ...]:
        """Strings that end an answer, the usual one first."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the plan should say about it."""
        ...

    def render(
        self, conversation: Conversation, *, add_generation_prompt: bool = False
    ) -> list[Span]:
        """The conversation as text in pieces."""
        ...

    def shape(self, conversation: Conversation) -> Shape | None:
        """What decides every span but for the words; `None`: the words decide too."""
        ...

    def reads_as_given(self, conversation: Conversation) -> list[bool]:
        """For each answer, whether the text up to its end is the one it was given in."""
        ...

    @property
    def left_out(self) -> Thinking | None:
        """Marks of the thoughts that it takes out of answers; `None`: it takes none out."""
        ...

    def jinja(self) -> str:
        """The Jinja chat template that serves the same text elsewhere."""
        ...

    def identity(self) -> str:
        """Everything that decides its text; equal ones lay out alike."""
        ...

    def control_text(self) -> str:
        """Everything that the template itself writes."""
        ...


class Asked(NamedTuple):
    """What a run asks of its template, whichever it is."""

    default_system: str | None = None
    """System text of conversations that bring none; `None`: what the template says."""
    enable_thinking: bool | None = True
    preserve_thinking: bool = False
    tool_format: str | None = None
    """In place of the template's own."""

    @classmethod
    def of(cls, section: Any) -> Asked:
        """What the keys of the same names in a section of a run file say."""
        return cls(**{key: getattr(section, key) for key in cls._fields})


_NOTHING = Asked()


def choose(
    name: str | None,
    tokenizer: Tokenizer,
    asked: Asked = _NOTHING,
    *,
    today: datetime.date | None = None,
    where: Callable[[str], str] = str,
) -> Renderer:
    """The template of a run.

    Args:
        name: a shipped template, a path ending in `.yaml` or `.jinja`, or `None` for the
            template that the tokenizer brings.
        tokenizer: whose tokens the template uses.
        asked: what the run asks of it.
        today: the date that some templates print; `None`: the clock's.
        where: the place of a key of the run, for errors about what it asks.

    Raises:
        TemplateError: unknown name (the nearest are given), a file that cannot be read, no
            name and no template beside the tokenizer (candidates are given).
    """
    try:
        return _chosen(name, tokenizer, asked, today)
    except TemplateError as error:
        if error.where in ("template", *Asked._fields):
            error.where = where(error.where)
        raise


def _chosen(
    name: str | None, tokenizer: Tokenizer, asked: Asked, today: datetime.date | None
) -> Renderer:
    if name is None:
        if not tokenizer.chat_template:
            raise TemplateError(
                "template",
                got=f"no template named, and {tokenizer.path} brings none",
                need="template: <name>, so that training and serving use the same text",
                hint=" or ".join(f"template: {n}" for n in candidates(tokenizer)[:4]),
            )
        return _own(tokenizer.chat_template, tokenizer, asked, today=today)
    if name.endswith(".jinja"):
        return _own(text_of(Path(name)), tokenizer, asked, name=name, today=today)
    return unbound(name).bind(tokenizer, today=today, **asked._asdict())


def is_here(name: str | None) -> bool:
    """Whether a name leads to a template: shipped, registered in this process, or a file."""
    if name is None or name.endswith((".yaml", ".yml", ".jinja")):
        return name is None or Path(name).is_file()
    return name in registry.names()


def unbound(name: str) -> Template:
    """A shipped template, or the last one of a `.yaml` file; bos and eos are empty.

    Raises:
        TemplateError: unknown name (the nearest are given), a file that cannot be read.
    """
    if not name.endswith((".yaml", ".yml")):
        return registry.get(name)
    return Template(list(read(text_of(Path(name)), name, registry.format).values())[-1])


def _own(
    source: str,
    tokenizer: Tokenizer,
    asked: Asked,
    name: str = "the model's own",
    *,
    today: datetime.date | None,
) -> OwnJinja:
    if asked.tool_format is not None:
        need = "a named template: a Jinja template has its own syntax of tools"
        raise TemplateError("tool_format", got=asked.tool_format, need=need)
    options = {  # nothing is passed that a server would not pass by itself, unless asked for
        "enable_thinking": False if asked.enable_thinking is False else None,
        "preserve_thinking": asked.preserve_thinking or None,
    }
    system = asked.default_system
    if today is None:
        return OwnJinja(source, tokenizer, default_system=system, options=options, name=name)
    return DatedJinja(
        source, tokenizer, today=today, default_system=system, options=options, name=name
    )


def candidates(tokenizer: Tokenizer) -> list[str]:
    """Templates that could fit, likeliest first.

    First those made for a model of this name, the closest name first; then those whose turns
    are written in tokens of the vocabulary, the most tokens first; then those that need none.
    Among equals those come first that add no system text, mark no thoughts and are made for no
    family.
    """
    here = [part.lower() for whole in tokenizer.path.parts for part in whole.split("--")]
    ranked: list[tuple[Any, ...]] = []
    for name in registry.names():
        format = registry.format(name)
        fitting = [p for p in format.models if any(fnmatch(part, p.lower()) for part in here)]
        marks = set(MARK.findall(_turns(registry.get(name))))
        if not fitting and not all(tokenizer.id_of(mark) is not None for mark in marks):
            continue
        closest = max((len(p) for p in fitting), default=0)
        adds = format.default_system is not None, format.thinking is not None, bool(format.models)
        ranked.append((-closest, -len(marks), *adds, name))
    return [name for *_, name in sorted(ranked)]


def _turns(template: Template) -> str:
    """What a template writes around turns without tools and thoughts."""
    roles = template.format.roles
    pieces = [template.format.prefix]
    for turn in filter(None, (roles.system, roles.user, roles.assistant)):
        pieces += [turn.open, turn.lead, turn.stop, turn.after]
    return "\n".join(map(template.text, pieces))


def text_of(path: Path) -> str:
    """What a template file holds.

    Raises:
        TemplateError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        need = "a readable template file (UTF-8)"
        raise TemplateError(f"template: {path}", got=got, need=need) from None
