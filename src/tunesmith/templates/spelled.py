"""Conversations in the words of a template: thoughts between its marks, results side by side.

Data says what was thought and what came back without saying how a model marks it. What a
template lays out has to have been spelled out here.
"""

from __future__ import annotations

from tunesmith.templates import layout
from tunesmith.templates.choose import Renderer
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.render import Template
from tunesmith.templates.thoughts import USUAL, marks_in
from tunesmith.types import Conversation


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
