"""Thoughts in the answers of a run's rows: put into the template's marks, and counted.

In rows a thought stands between `<think>` and `</think>` before the answer, or in the marks of
the template. What a template then makes of it is in `templates/thoughts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tunesmith.data.examples import Said
from tunesmith.data.ledger import counted
from tunesmith.templates import ANSWERING, Renderer, Template, unsilenced
from tunesmith.templates.format import Thinking
from tunesmith.types import Conversation

OPEN, CLOSE = "<think>", "</think>"


def read(
    said: list[Said], renderer: Renderer, *, mask_history: bool
) -> tuple[list[Said], list[str]]:
    """Rows with their thoughts in the template's marks, and what the ledger says about thoughts.

    Args:
        said: the rows.
        renderer: the template.
        mask_history: only last answers are learned.
    """
    template = renderer if isinstance(renderer, Template) else None
    marks = template.format.thinking if template else None
    foreign = marks is not None and marks.open.strip() != OPEN
    notes: list[str] = []
    if marks is not None and foreign:
        marked = [one._replace(conversation=in_marks(one.conversation, marks)) for one in said]
        count = sum(a.conversation is not b.conversation for a, b in zip(said, marked, strict=True))
        said = marked
        if count:
            shown = f"{marks.open.strip()} and {marks.close.strip()}"
            notes.append(
                f"{counted(count)} with thoughts between {OPEN} and {CLOSE}: they are learned "
                f"between {shown}, as template {renderer.name} marks them"
            )
    notes += _left_out(said, template)
    notes += _elsewhere(said, renderer.name) if foreign else ()
    notes += _half(said, marks)
    notes += _unasked(said, template, mask_history=mask_history)
    return said, notes


def in_marks(conversation: Conversation, marks: Thinking) -> Conversation:
    """The conversation with each thought that begins an answer in these marks.

    The same object where there is none.
    """
    messages = tuple(
        message._replace(content=_in_marks(message.content, marks))
        if message.role in ANSWERING
        else message
        for message in conversation.messages
    )
    same = messages == conversation.messages
    return conversation if same else conversation._replace(messages=messages)


def _in_marks(words: str, marks: Thinking) -> str:
    opened, begun, rest = words.partition(OPEN)
    thought, ended, answer = rest.partition(CLOSE)
    if opened.strip() or not (begun and ended):
        return words
    return marks.open + thought.strip("\n") + marks.close + answer.lstrip("\n")


def _left_out(said: list[Said], template: Template | None) -> Iterator[str]:
    marks = template.format.thinking if template else None
    if template is None or marks is None or template.enable_thinking is not False:
        return
    opened, closed = marks.open.strip(), marks.close.strip()
    count = _rows(said, lambda words: closed in words.partition(opened)[2])
    if count:
        yield f"thinking is off: the thoughts of {counted(count)} are left out and not learned"


def _elsewhere(said: list[Said], name: str) -> Iterator[str]:
    found = [one for one in said if _any(one, lambda words: CLOSE in words.partition(OPEN)[2])]
    if found:
        yield (
            f"{counted(len(found))} with {OPEN} and {CLOSE} inside an answer, where template "
            f"{name} marks no thought (first: {found[0].origin}): they are learned as words"
        )


def _half(said: list[Said], marks: Thinking | None) -> Iterator[str]:
    pairs = {(OPEN, CLOSE)} | ({(marks.open.strip(), marks.close.strip())} if marks else set())

    def half(words: str) -> bool:
        return any(
            (opened in words or closed in words) and closed not in words.partition(opened)[2]
            for opened, closed in pairs
        )

    found = [one for one in said if _any(one, half)]
    if found:
        yield (
            f"{counted(len(found))} with half a thought, its begin or its end alone (first: "
            f"{found[0].origin}): it is learned as it stands"
        )


def _unasked(said: list[Said], template: Template | None, *, mask_history: bool) -> Iterator[str]:
    if template is None or template.format.thinking is None:
        return  # a Jinja template refuses rows under another prompt than the one it serves
    marks, asked = template.format.thinking, template.enable_thinking

    def thinks(one: Said) -> bool:
        messages = one.conversation.messages
        return any(
            message.role in ANSWERING
            and message.trained is not False
            and (message is messages[-1] or message.trained or not mask_history)
            and unsilenced(message.content, marks, enable_thinking=asked)
            for message in messages
        )

    count = sum(map(thinks, said))
    if count:
        value = "null" if asked is None else "false"
        yield (
            f"{counted(count)} with thoughts under enable_thinking: {value}: their answers are "
            "learned under the prompt that enable_thinking: true serves, the others under that of "
            f"{value}"
        )


def _rows(said: list[Said], holds: Callable[[str], bool]) -> int:
    return sum(_any(one, holds) for one in said)


def _any(one: Said, holds: Callable[[str], bool]) -> bool:
    return any(m.role in ANSWERING and holds(m.content) for m in one.conversation.messages)
