"""Which answers of a conversation are learned: what its messages say, and what the run says."""

from __future__ import annotations

from tunesmith.templates import ANSWERING
from tunesmith.types import Conversation, Message


def unmasked(conversation: Conversation) -> Conversation:
    """With nothing said about its answers."""
    if all([m.trained is None for m in conversation.messages]):
        return conversation
    messages = [
        m._replace(trained=None) if m.role in ANSWERING else m for m in conversation.messages
    ]
    return conversation._replace(messages=tuple(messages))


def masked(conversation: Conversation, *, mask_history: bool) -> Conversation | None:
    """With `trained` decided for every answer; `None` if all are learned."""
    if not mask_history and all([m.trained is None for m in conversation.messages]):
        return None
    last = len(conversation.messages) - 1

    def decided(number: int, message: Message) -> Message:
        if message.role not in ANSWERING or message.trained is not None:
            return message
        return message._replace(trained=number == last or not mask_history)

    messages = tuple(decided(i, m) for i, m in enumerate(conversation.messages))
    if all(m.trained for m in messages if m.role in ANSWERING):
        return None
    return conversation._replace(messages=messages)
