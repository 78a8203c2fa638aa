"""Rows of a run that an export is held against: their ids, and their prompts as conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.data.ledger import Ledger
from tunesmith.data.reader import Reader
from tunesmith.export.proof import Probe
from tunesmith.types import Conversation, Example, Origin

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found

_PLAIN = ("user", "assistant")


def probes(found: Found, rows: Any, count: int) -> list[Probe]:
    """Held-out rows, or rows learned from where none are held out.

    Args:
        found: the tuned model.
        rows: of the run, prepared.
        count: at most so many.

    Returns:
        Ids of training, with the conversation where the row is one of plain words: the chat
        template of an export has to give the prompt that training used.
    """
    chosen = list((rows.eval or rows.train)[:count])
    said = _said(found, rows, {example.origin for example in chosen})
    return [_probe(found, example, said.get(example.origin)) for example in chosen]


def _said(found: Found, rows: Any, wanted: set[Origin]) -> Mapping[Origin, Conversation]:
    """What those rows say, read once more; the reading ends with the last of them."""
    names = {origin.dataset for origin in wanted}
    entries = [(entry, held) for entry, held in rows.entries if entry.name in names]
    said: dict[Origin, Conversation] = {}
    for one in Reader(Ledger(), found.renderer, stop=False).said(entries):
        if one.origin in wanted:
            said[one.origin] = one.conversation
        if len(said) == len(wanted):
            break
    return said


def _probe(found: Found, example: Example, conversation: Conversation | None) -> Probe:
    ids = example.ids.tolist()
    messages = None if conversation is None else _messages(conversation)
    if conversation is None or messages is None or _spells_control(found, messages):
        return Probe(ids)
    prompt = found.encode(conversation._replace(messages=conversation.messages[:-1]))
    if ids[: len(prompt)] != prompt:  # a row that was cut to the cutoff begins elsewhere
        return Probe(ids)
    return Probe(ids, messages, len(prompt))


def _spells_control(found: Found, messages: Sequence[Mapping[str, str]]) -> bool:
    """Whether words spell a control token: other programs take them for one in a rendered text."""
    if not found.split_special_tokens:
        return False
    known = found.tokenizer.backend.get_added_tokens_decoder().values()
    added = [token.content for token in known]
    return any(word in message["content"] for word in added for message in messages)


def _messages(conversation: Conversation) -> list[dict[str, str]] | None:
    """Role and content up to the last answer; `None` where they do not say all of it."""
    turns: Sequence[Any] = conversation.messages
    plain = all(turn.role in _PLAIN and not turn.thought and not turn.calls for turn in turns)
    if conversation.tools or conversation.media or not plain or turns[-1].role != "assistant":
        return None
    first = [{"role": "system", "content": conversation.system}] if conversation.system else []
    return [*first, *({"role": turn.role, "content": turn.content} for turn in turns[:-1])]
