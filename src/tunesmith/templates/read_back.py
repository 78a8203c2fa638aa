"""What is written for an answer that calls tools is read as the same answer, or refused."""

from __future__ import annotations

from tunesmith.errors import TemplateError
from tunesmith.templates import tools
from tunesmith.types import Call, Message


def read_behind(syntax: tools.ToolFormat, text: str, lead: str) -> tuple[str, tuple[Call, ...]]:
    """Words and calls of an answer; a template's turn of calls puts a lead between them."""
    words, calls = syntax.read(text)
    return (words.removesuffix(lead), calls) if calls else (words, ())


def check_read_back(syntax: tools.ToolFormat, text: str, lead: str, message: Message) -> None:
    """Hold an answer's text, from its words to the end of its calls, to what it is read as.

    Raises:
        TemplateError: words that end in a mark of the syntax, or in part of a call.
    """
    names = [call.name for call in message.calls]
    words, calls = read_behind(syntax, text, lead)
    if words != message.content or [call.name for call in calls] != names:
        got = f"{message.content[-40:]!r} before a call of {names[0]}"
        need = "words that are read back: these run into the marks of the calls behind them"
        hint = "end the words otherwise, or name another template"
        raise TemplateError("words before a call", got=got, need=need, hint=hint)
