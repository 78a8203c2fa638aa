"""A conversation whose answers serving shows in different texts becomes one text for each.

Where a template leaves thoughts out of the history, the text in which the second question is
answered does not begin with the text in which the first one was. Each answer is learned under
exactly the prompt that serving sends for it, and once.
"""

from __future__ import annotations

from tunesmith.templates.choose import Renderer
from tunesmith.templates.order import ANSWERING
from tunesmith.types import Conversation


def apart(renderer: Renderer, conversation: Conversation) -> list[Conversation]:
    """Beginnings of the conversation that together teach every answer that is to be learned.

    Args:
        renderer: the template.
        conversation: ends with an answer; `trained: false` marks answers that are context.

    Returns:
        The conversation itself where its answers read as they were given; else its parts in
        order, each with `trained` set for every answer.

    Raises:
        TemplateError: the template cannot express it.
    """
    messages = conversation.messages
    answers = [i for i, m in enumerate(messages) if m.role in ANSWERING]
    if len(answers) == 1:
        return [conversation]
    same = renderer.reads_as_given(conversation)
    if all(same):
        return [conversation]
    wanted = {i for i in answers if messages[i].trained is not False}
    parts: list[Conversation] = []
    beginning = conversation
    while wanted:
        learned = {i for i, reads in zip(answers, same, strict=False) if reads and i in wanted}
        if learned == wanted and beginning is conversation:
            return [conversation]
        if learned:
            parts.append(_learning(beginning, learned))
        wanted -= learned
        if wanted:  # the last answer of a text reads as it was given
            beginning = conversation._replace(messages=messages[: max(wanted) + 1])
            same = renderer.reads_as_given(beginning)
    return parts[::-1] or [conversation]


def _learning(conversation: Conversation, learned: set[int]) -> Conversation:
    decided = (
        message._replace(trained=i in learned) if message.role in ANSWERING else message
        for i, message in enumerate(conversation.messages)
    )
    return conversation._replace(messages=tuple(decided))
