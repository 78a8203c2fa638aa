"""Conversations that show a template or compare two: plain, with system text, tools, thoughts."""

from __future__ import annotations

from tunesmith.templates.format import Format
from tunesmith.types import Call, Conversation, Message

TOOLS = (
    '[{"type": "function", "function": {"name": "weather", "description": "Weather of a city", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}, '
    '"required": ["city"]}}}]'
)
_TURNS = (
    Message("user", "How are you?"),
    Message("assistant", "Fine."),
    Message("user", "2 + 2?"),
    Message("assistant", "4."),
)
_CHAIN = (
    Message("user", "Weather in Paris?"),
    Message("function", "", calls=(Call("weather", '{"city": "Paris"}'),)),
    Message("observation", '{"celsius": 21}'),
    Message("assistant", "21 °C."),
)
PLAIN = {
    "one turn": Conversation(_TURNS[:2]),
    "two turns": Conversation(_TURNS),
    "with system text": Conversation(_TURNS[:2], system="Be brief."),
    "generation prompt": Conversation(_TURNS[:1]),
}
"""What two templates are compared on, by what is special about it."""
WITH_TOOLS = {
    "with tools": Conversation(_TURNS[:2], tools=TOOLS),
    "with tools and system text": Conversation(_TURNS[:2], "Be brief.", TOOLS),
    "a call and its result": Conversation(_CHAIN, tools=TOOLS),
}
"""Further ones for rows with tools, which many a template puts otherwise without system text."""
PROBES = PLAIN | WITH_TOOLS


SHOWN = {
    "two questions": Conversation(_TURNS),
    "with a system text": Conversation(_TURNS[:2], "Be brief."),
    "with tools": Conversation(_CHAIN, tools=TOOLS),
}
"""What `template show` shows, as far as a template can express it."""


def shown(format: Format) -> dict[str, Conversation]:
    """`SHOWN` without what a template cannot express, and with thoughts in its marks."""
    system, calls = format.roles.system is not None, format.tool_format is not None
    left_out = {"with a system text": not system, "with tools": not (system and calls)}
    found = {name: one for name, one in SHOWN.items() if not left_out.get(name)}
    if format.thinking is None:
        return found
    thoughts = with_thoughts(format.thinking.open, format.thinking.close)
    return found | {"with thoughts": thoughts["a thought in the history"]}


def with_thoughts(opened: str, closed: str) -> dict[str, Conversation]:
    """Probes of a template that marks thoughts, in its own marks."""
    thought = f"{opened}hm{closed}"
    said = tuple(
        m._replace(content=thought + m.content) if m.role == "assistant" else m for m in _TURNS
    )
    return {
        "a thought": Conversation(said[:2]),
        "a thought in the history": Conversation(said),
    }
