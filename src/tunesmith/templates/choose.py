"""Which template a run uses: the one it names, a file, or the model's own."""

from __future__ import annotations

import datetime
import re
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
) -> Renderer:
    """The template of a run.

    Args:
        name: a shipped template, a path ending in `.yaml` or `.jinja`, or `None` for the
            template that the tokenizer brings.
        tokenizer: whose tokens the template uses.
        asked: what the run asks of it.
        today: the date that some templates print; `None`: the clock's.

    Raises:
        TemplateError: unknown name (the nearest are given), a file that cannot be read, no
            name and no template beside the tokenizer (candidates are given).
    """
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

    First those made for a model of this name, then those whose every control token is one
    token of the vocabulary, then those that need no tokens.
    """
    here = tokenizer.path.name.lower()
    by_name, by_token, plain = [], [], []
    for name in registry.names():
        marks = MARK.findall(registry.get(name).control_text())
        if any(fnmatch(here, p.lower()) for p in registry.format(name).models):
            by_name.append(name)
        elif not marks:
            plain.append(name)
        elif all(tokenizer.id_of(mark) is not None for mark in marks):
            by_token.append(name)
    return by_name + by_token + plain


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
