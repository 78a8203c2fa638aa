"""The turns of a template file as the text that one tokenizer knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tunesmith.errors import TemplateError
from tunesmith.templates.format import Format, Later, Round, Text, Turn
from tunesmith.templates.tools import refusal

_OPENS = re.compile(r"<[a-z_]+>\n?\Z")
_CLOSES = re.compile(r"\n?</[a-z_]+>")


@dataclass(frozen=True)
class Strings:
    """A turn of the file as this tokenizer's text."""

    open: str
    lead: str
    stop: str
    after: str
    then: str | None = None
    rounds: Text = field(default=())
    """The opening in pieces, where it counts rounds."""
    between: str = ""
    """What stands between an answer's words and its calls."""


@dataclass(frozen=True)
class Layout:
    """All turns of a file as this tokenizer's text."""

    prefix: str
    system: Strings | None
    user: Strings
    assistant: Strings
    observation: Strings | None
    function: Strings
    tools: Strings

    def need_system(self, name: str) -> Strings:
        """The system turn.

        Raises:
            TemplateError: the template has none.
        """
        if self.system is None:
            need = "no system text: this template cannot express one"
            raise TemplateError(f"template: {name}: system", got="a system text", need=need)
        return self.system

    def need_result(self, name: str, number: int) -> Strings:
        """The turn of a tool's result.

        Raises:
            TemplateError: the template has none.
        """
        if self.observation is None:
            where = f"template: {name}: messages[{number}].role"
            need, hint = refusal.NEED, refusal.HINT
            raise TemplateError(where, got="observation", need=need, hint=hint)
        return self.observation


def between_results(form: Format, text: Callable[[Text], str]) -> str:
    """What stands between results of parallel calls in one turn: its inner marks, or a newline.

    Args:
        form: what the file says.
        text: pieces of the file as text.
    """
    turn = form.roles.observation
    if turn is None:
        return "\n"
    opens, closes = _OPENS.search(text(turn.open)), _CLOSES.match(text(turn.stop))
    return f"{closes[0]}\n{opens[0]}" if opens and closes else "\n"


def layout(form: Format, text: Callable[[Text], str], *, results: bool) -> Layout:
    """The turns of a file.

    Args:
        form: what the file says.
        text: pieces of the file as text.
        results: whether a tool's result has a turn.
    """
    roles = form.roles

    def strings(turn: Turn) -> Strings:
        counted = any(isinstance(piece, Round | Later) for piece in turn.open)
        rounds = turn.open if counted else ()
        then = None if turn.then is None else text(turn.then)
        parts = (text(t) for t in (turn.open, turn.lead, turn.stop, turn.after))
        return Strings(*parts, then=then, rounds=rounds)

    return Layout(
        prefix=text(form.prefix),
        system=strings(roles.system) if roles.system else None,
        user=strings(roles.user),
        assistant=strings(roles.assistant),
        observation=strings(roles.observation or roles.user) if results else None,
        function=strings(roles.assistant)
        if roles.function is None
        else replace(strings(roles.function), lead="", between=text(roles.function.lead)),
        tools=strings(form.tools),
    )
