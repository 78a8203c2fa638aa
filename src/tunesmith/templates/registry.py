"""Templates found by name: the shipped ones, and conversations that a program registers.

A shipped file is parsed when one of its names is asked for.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.resources import files

from tunesmith.errors import TemplateError
from tunesmith.templates.conversation import Conversation
from tunesmith.templates.format import Format, from_fields, read
from tunesmith.templates.render import Template

_registered: dict[str, Format] = {}
_NAME = re.compile(r"^name: *[\"']?([^\s\"'#]+)", re.MULTILINE)


@cache
def _index() -> dict[str, str]:
    """Name of each template -> name of its file."""
    found = {}
    for path in sorted(
        files("tunesmith.templates").joinpath("formats").iterdir(), key=lambda p: p.name
    ):
        if path.name.endswith(".yaml"):
            for name in _NAME.findall(path.read_text(encoding="utf8")):
                assert name not in found, f"two shipped templates are named {name}"
                found[name] = path.name
    return found


@cache
def _family(file: str) -> dict[str, Format]:
    text = files("tunesmith.templates").joinpath("formats", file).read_text(encoding="utf8")
    return read(text, f"templates/formats/{file}", format)


def names() -> list[str]:
    """Names of all shipped and registered templates, sorted."""
    return sorted({*_index(), *_registered})


def shipped() -> list[str]:
    """Names of the shipped templates, sorted: the same in every process."""
    return sorted(_index())


def register(conversation: Conversation) -> None:
    """Let `template: <version>` find a conversation, from now on and in this process.

    Registering a version again replaces it.

    Raises:
        TemplateError: it has no `version`, or a shipped template has that name.
    """
    where, name = "conversation: version", conversation.version
    if not conversation.named:
        raise TemplateError(where, got=None, need="a version: the name it is found by")
    if name in _index():
        raise TemplateError(where, got=name, need="a name that no shipped template has")
    _registered[name] = from_fields(conversation.template(), where)


def format(name: str) -> Format:
    """What the file of a shipped template says, or a registered conversation.

    Raises:
        TemplateError: no such template; the nearest names are given.
    """
    if name in _registered:
        return _registered[name]
    if name not in _index():
        near = difflib.get_close_matches(name, names(), 3, cutoff=0.5)
        raise TemplateError(
            f"template: {name}",
            need=f"the name of a template (`tunesmith template list` shows all {len(names())}), "
            "or a .yaml or .jinja file",
            hint=" or ".join(near),
        )
    return _family(_index()[name])[name]


def get(name: str) -> Template:
    """A template that is not yet bound to a tokenizer: bos and eos are empty.

    Raises:
        TemplateError: no such template; the nearest names are given.
    """
    return Template(format(name))
