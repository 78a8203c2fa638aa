"""Conversations in the words of a template: thoughts between its marks, results side by side.

Data says what was thought and what came back without saying how a model marks it. What a
template lays out has to have been spelled out here.
"""

from __future__ import annotations

from tunesmith.errors import TemplateError
from tunesmith.templates import layout, thoughts
from tunesmith.templates.choose import Renderer
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.render import Template
from tunesmith.templates.thoughts import USUAL, lead_in, marks_in
from tunesmith.types import Conversation, Message


def spelled(conversation: Conversation, renderer: Renderer) -> Conversation:
    """The conversation with every thought and every result among its words."""
    if not any([m.thought or m.results for m in conversation.messages]):
        return conversation
    opened, closed = marks(renderer)
    messages = []
    for message in conversation.messages:
        if message.thought:
            thought = message.thought.strip("\n")
            words = f"{opened}{thought}{closed}{message.content}"
            message = message._replace(content=words, thought="")
        if message.results:
            words = between_results(renderer).join(message.results)
            message = message._replace(content=words, results=())
        messages.append(message)
    return conversation._replace(messages=tuple(messages))


def has_marks(renderer: Renderer) -> bool:
    """Whether the template knows thoughts at all."""
    if isinstance(renderer, Template):
        return renderer.format.thinking is not None
    return marks_in(_source(renderer)) is not None


def marks(renderer: Renderer) -> tuple[str, str]:
    """What opens and closes a thought; of a template that knows none, the usual words."""
    if isinstance(renderer, Template):
        thinking = renderer.format.thinking
        return USUAL if thinking is None else (thinking.open, thinking.close)
    return marks_in(_source(renderer)) or USUAL


def leads(renderer: Renderer) -> tuple[str, ...]:
    """What may stand before an answer's words where nothing was thought, longest first."""
    if isinstance(renderer, Template):
        form = renderer.format
        return thoughts.leads(form.thinking, renderer.text(form.roles.assistant.lead))
    found = marks_in(_source(renderer))
    return tuple(filter(None, [lead_in(found)])) if found else ()


def in_answers(renderer: Renderer) -> tuple[str, ...]:
    """What the template writes into answers around thoughts, words and calls.

    Special tokens among it are part of what an answer says. Of a Jinja template whose calls have
    not been read (`parse`), those of thoughts alone are known.
    """
    found = (*(marks(renderer) if has_marks(renderer) else ()), *leads(renderer))
    if isinstance(renderer, Template):
        calling = renderer.format.roles.function
        between = renderer.text(calling.lead) if calling else ""
        found = (*found, between, *renderer.tool_syntax.MARKS)
    return found


def takes_thoughts(renderer: Renderer) -> bool:
    """Whether words with a thought may stand in a conversation; some Jinjas refuse its marks."""
    if not isinstance(renderer, OwnJinja) or not has_marks(renderer):
        return True
    asked = Message("user", "a")
    thinks = Message("assistant", "b".join(marks(renderer)) + "c")
    try:
        renderer.text(Conversation((asked, thinks, asked)), prompting=True)
    except TemplateError:
        return False
    return True


def between_results(renderer: Renderer) -> str:
    """What stands between results of parallel calls in one turn: its inner marks, or a newline.

    Under Qwen's templates that is what the model's own Jinja writes for messages in a row.
    """
    if not isinstance(renderer, Template):
        inner = "<tool_response>" in _source(renderer)
        return "\n</tool_response>\n<tool_response>\n" if inner else "\n"
    return layout.between_results(renderer.format, renderer.text)


def _source(renderer: Renderer) -> str:
    return renderer.source if isinstance(renderer, OwnJinja) else renderer.control_text()
