"""Prompts and answers in turn: what every template asks of a conversation."""

from __future__ import annotations

from tunesmith.errors import TemplateError
from tunesmith.types import Conversation

PROMPTING = ("user", "observation")
ANSWERING = ("assistant", "function")


def check_order(name: str, conversation: Conversation, *, add_generation_prompt: bool) -> None:
    """Prompts and answers in turn, beginning with a prompt, ending as asked.

    Raises:
        TemplateError: turns out of order, an unknown role, calls that do not fit the role.
    """
    where = f"template: {name}: messages"
    messages = conversation.messages
    if not messages:
        raise TemplateError(where, got="no messages", need="at least one turn")
    for number, message in enumerate(messages):
        role = message.role
        if role not in PROMPTING and role not in ANSWERING:
            need = "user, assistant, observation or function"
            raise TemplateError(f"{where}[{number}].role", got=role, need=need)
        unspelled = message.thought or message.results
        assert not unspelled, "`spelled` comes before a template lays it out"
        if (role in PROMPTING) != (number % 2 == 0):
            expected = "a user turn" if number % 2 == 0 else "an assistant turn"
            need = f"{expected} here: user and assistant speak in turn, the user first"
            raise TemplateError(f"{where}[{number}].role", got=role, need=need)
        if (role == "function") != bool(message.calls):
            need = "calls in a function turn, and only there"
            raise TemplateError(f"{where}[{number}].calls", got=message.calls, need=need)
        if message.trained and role in PROMPTING:
            need = "an answer: a prompt is not learned (train_on_prompt: true learns everything)"
            raise TemplateError(f"{where}[{number}].trained", got=True, need=need)
    last = messages[-1].role
    if add_generation_prompt and last not in PROMPTING:
        raise TemplateError(where, got=f"last turn is {last}", need="a user turn at the end")
    if not add_generation_prompt and last not in ANSWERING:
        raise TemplateError(where, got=f"last turn is {last}", need="an answer at the end")
