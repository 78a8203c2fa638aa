"""Rows longer than the cutoff: whole turns go first, then words of a question, never an answer.

Headers, ends of turns, the system text and the tools always stay. A row whose answer does
not fit is over the cutoff, whatever the policy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import tokenizers

from tunesmith.data.tokenize import Encoded
from tunesmith.types import Conversation

Policy = Literal["drop", "keep_end", "keep_start", "error"]
Encode = Callable[[Sequence[Conversation]], list[Encoded]]


class Fitted(NamedTuple):
    """What is left of a row under the cutoff."""

    encoded: Encoded | None
    """`None`: the row does not fit."""
    needed: int
    """Smallest cutoff length that keeps the answer under this policy, in tokens."""
    num_dropped: int = 0
    """Messages that were left out."""
    question_cut: bool = False
    """Whether words of a question were cut away."""
    conversation: Conversation | None = None
    """What is left of it; `None`: the row does not fit."""


def fit(
    conversation: Conversation,
    whole: Encoded,
    *,
    cutoff_len: int,
    policy: Policy,
    encode: Encode,
    backend: tokenizers.Tokenizer,
) -> Fitted:
    """Fit a conversation into `cutoff_len` tokens by leaving something out.

    `keep_end` leaves out the oldest turns, then the start of the last question; `keep_start`
    the newest turns, then the end of the first question; `drop` and `error` leave nothing out.

    Args:
        conversation: what the row says.
        whole: its encoding.
        cutoff_len: the most tokens of an example.
        policy: `truncation` of the run file.
        encode: conversations to ids and trained flags, as the run encodes them.
        backend: to find out where the words of a question may be cut.

    Raises:
        Error: what is left cannot be encoded; the reason is that of `tokenize.encode`.
    """
    length = len(whole.ids)
    if length <= cutoff_len:
        return Fitted(whole, length, conversation=conversation)
    if policy in ("drop", "error"):
        return Fitted(None, length)
    shorter = _shorter(conversation, policy)
    fits = bisect_left(
        range(len(shorter) - 1),
        True,
        key=lambda i: len(_encoded(encode, shorter[i]).ids) <= cutoff_len,
    )
    least = shorter[fits]
    num_dropped = len(conversation.messages) - len(least.messages)
    encoded = _encoded(encode, least) if num_dropped else whole
    if len(encoded.ids) <= cutoff_len:
        return Fitted(encoded, len(encoded.ids), num_dropped, conversation=least)
    places = backend.encode(least.messages[0].content, add_special_tokens=False).offsets

    def asking_less(removed: int) -> Conversation:
        first, *others = least.messages
        words = _cut(first.content, places, removed, policy)
        return least._replace(messages=(first._replace(content=words), *others))

    needed = len(_encoded(encode, asking_less(len(places))).ids)
    if needed > cutoff_len:
        return Fitted(None, needed)
    removed, left = 0, least
    while len(encoded.ids) > cutoff_len:
        removed = min(len(places), removed + len(encoded.ids) - cutoff_len)
        left = asking_less(removed)
        encoded = _encoded(encode, left)
    return Fitted(encoded, needed, num_dropped, question_cut=True, conversation=left)


def _encoded(encode: Encode, conversation: Conversation) -> Encoded:
    (found,) = encode([conversation])
    if found.error is not None:
        raise found.error
    return found


def _shorter(conversation: Conversation, policy: Policy) -> list[Conversation]:
    """The conversation with more and more turns left out; the last one cannot lose more."""
    messages = conversation.messages
    if policy == "keep_end":
        starts = [i for i, m in enumerate(messages) if i > 0 and i % 2 == 0 and m.role == "user"]
        parts = [messages[i:] for i in starts]
    else:
        stops = [i for i in range(len(messages) - 2, 0, -2) if messages[i - 1].role == "assistant"]
        parts = [messages[:i] for i in stops]
    return [conversation._replace(messages=part) for part in (parts or [messages])]


def _cut(question: str, places: list[tuple[int, int]], removed: int, policy: Policy) -> str:
    """The question without `removed` of its tokens, which stand at `places`."""
    if removed == len(places):
        return ""
    if policy == "keep_end":
        return question[places[removed][0] :]
    return question[: places[len(places) - removed - 1][1]]
