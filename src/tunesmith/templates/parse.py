"""The strings of a model's own Jinja template: what stands around the words, as a template file.

Conversations with marks in place of words show what the Jinja writes around them. From that a
`Format` is guessed, and kept only as far as it renders every probe to the same text: a guess
that fails costs what it was about (system text, thoughts, tools), never the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from tunesmith.errors import TemplateError
from tunesmith.templates import parse_tools
from tunesmith.templates.format import Format, from_fields
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.parse_tools import Around, around, told
from tunesmith.templates.render import Template
from tunesmith.types import Conversation, Message

_AROUND = 20
_THOUGHT = re.compile(r"(<[^<>/]+>\n?)(\n?</[^<>]+>\n*)")
_USUAL = ("<think>\n", "\n</think>\n\n")
_PLAIN = (
    ("How?", "So."),
    ("{{ x }} {% y %} 'q' \"p\" \\n", "你好 👩‍👩‍👧\n\nuser: assistant: <b>"),
)
_LOOSE = (("  in\n", "\n out \n\n"), ("", ""))


class Parsed(NamedTuple):
    """What could be read out of a Jinja template."""

    format: Format | None
    """`None`: no strings around the words give the same text."""
    lost: tuple[str, ...] = ()
    """What the Jinja says and the format does not, with the first difference."""


def parse(own: OwnJinja) -> Parsed:
    """The template file that renders as the model's own Jinja does, as far as that is proven.

    Args:
        own: the Jinja, with nothing asked of it.

    Returns:
        A format that is equal on conversations of one to six turns (a header that the Jinja
        writes behind a last answer as if it were a prompt is none of it). What it is not equal on
        (system text, thoughts, tools, white space around words, the date) is named in `lost`.
        The format then refuses a system text, and tools.
    """
    try:
        fields = _plain(own)
    except (TemplateError, _Unlike) as error:
        return Parsed(None, (f"turns: {error}",))
    lost: list[str] = []
    fields, why = _first_equal(own, _thinking(own, fields), _rows(_PLAIN))
    if why:
        return Parsed(None, (f"turns: {why}",))
    with_system, why = _first_equal(own, _with_system(own, fields), _rows(_PLAIN, "Be brief. {x}"))
    if why:
        lost.append(f"system text: {why}")
    fields = fields if why else with_system
    opened, closed = _marks(fields)
    thoughts = [(q, f"{opened}Hm.{closed}{a}") for q, a in _PLAIN]
    fields, why = _first_equal(own, _histories(fields), _rows(thoughts))
    if why:
        lost.append(f"thoughts: {why}")
    with_tools, why = _with_tools(own, fields)
    if why:
        lost.append(f"tools: {why}")
    fields = fields if why else with_tools
    why = _difference(own, fields, _rows(_LOOSE))
    if why:
        lost.append(f"white space around words: {why}")
    if _is_dated(own):
        lost.append("date: the Jinja writes that of every day, here it stays that of today")
    return Parsed(_format(fields), tuple(lost))


class _Unlike(Exception):
    """The Jinja writes what a template file cannot say."""


def _plain(own: OwnJinja) -> dict[str, Any]:
    """Questions and answers in turn; no system text yet."""
    first, asked = _need(own, 1, prompting=True)
    _, given, tail = _need(own, 2)
    *_, between, again = _need(own, 3, prompting=True)
    word = own.stop_words[0]
    once = bool(own.eos) and tail.endswith(own.eos) and not between.startswith(tail)
    once = once and between.startswith(tail.removesuffix(own.eos))
    stop = tail.removesuffix(own.eos) if once else tail[: tail.find(word) + len(word)]
    if not given.startswith(asked):
        raise _Unlike(f"a prompt ends {asked!r}, but an answer begins behind {given!r}")
    after = tail[len(stop) :] if between.startswith(tail) else ""
    opened = between.removeprefix(stop).removeprefix(after)
    opening = _opening(first, opened)
    close = stop + after if asked.startswith(stop + after) else ""
    if again != asked:
        raise _Unlike(f"the first prompt ends {asked!r}, the second {again!r}")
    return {
        "name": "own",
        "prefix": first.removesuffix(_at_first(opening)),
        "stop_words": [word],
        "efficient_eos": once,
        "tool_format": None,
        "roles": {
            "system": None,
            "user": {"open": opening, "stop": close},
            "assistant": {
                "open": asked[len(close) :],
                "lead": given[len(asked) :],
                "stop": stop,
                "after": after,
            },
        },
    }


def _need(own: OwnJinja, turns: int, *, prompting: bool = False) -> Around:
    marks = [f"\ue000{i}\ue001" for i in range(turns)]
    found = around(own, Conversation(_turns(marks)), marks, prompting=prompting)
    if found is None:
        raise _Unlike("a text of the conversation is missing or moved")
    return found


def _thinking(own: OwnJinja, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Without thoughts; else what only the last answer begins with is an empty thought."""
    yield dict(fields)
    answer = fields["roles"]["assistant"]
    earlier = _need(own, 4)[1].removeprefix(_need(own, 1, prompting=True)[1])
    none = answer["lead"].removesuffix(earlier)
    if not none or none + earlier != answer["lead"]:
        return
    found = _THOUGHT.fullmatch(none)
    splits = [found.span(2)[0]] if found else range(1, len(none))
    marks = [(none[:at], none[at:]) for at in splits if none[:at].strip() and none[at:].strip()]
    roles = {**fields["roles"], "assistant": {**answer, "lead": earlier}}
    for opened, closed in [*marks, *([] if found else [_USUAL])]:
        thinking = {"open": opened, "close": closed, "empty": none, "history": "since_user"}
        guess = {**fields, "roles": roles, "thinking": thinking}
        thoughts = _rows([(q, f"{opened}Hm.{closed}{a}") for q, a in _PLAIN])
        if found or any(not _difference(own, g, thoughts) for g in _histories(guess)):
            yield guess


def _histories(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every way of keeping thoughts."""
    yield dict(fields)
    opened, closed = _marks(fields)
    empty = fields["thinking"]["empty"] if fields.get("thinking") else ""
    marks = {"open": opened, "close": closed, "empty": empty}
    for history in ("strip", "since_user", "keep"):
        yield {**fields, "thinking": {**marks, "history": history}}


def _marks(fields: Mapping[str, Any]) -> tuple[str, str]:
    marks = fields.get("thinking")
    return (marks["open"], marks["close"]) if marks else _USUAL


def _with_system(own: OwnJinja, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The places where a system text can stand, and what stands there without one."""
    marks = ["\ue0000\ue001", "\ue0001\ue001"]
    try:
        found = around(own, Conversation(_turns(marks[1:]), marks[0]), marks, prompting=True)
    except TemplateError:
        yield dict(fields)  # both refuse
        return
    if found is None:
        raise _Unlike("the system text is missing")
    before, between, _ = found
    head, opened = fields["prefix"], _at_first(fields["roles"]["user"]["open"])
    if before.startswith(head + opened):
        system = {"open": before[len(head + opened) :], "stop": between}
        yield _systems(fields, head, system, system_style="inside_first_user")
    if not between.endswith(opened):
        return
    stop = between[: len(between) - len(opened)]
    if before.startswith(head):
        yield _systems(fields, head, {"open": before[len(head) :], "stop": stop})
    once = own.bos and before.startswith(own.bos) and not opened.startswith(own.bos)
    bos = own.bos if once else ""
    turn = {"open": before[len(bos) :], "stop": stop}
    if head == before + stop:
        yield _systems(fields, bos, turn, system_always=True)
    elif head.startswith(before) and head.endswith(stop):
        default = head[len(before) : len(head) - len(stop)]
        yield _systems(fields, bos, turn, default_system=default)


def _opening(first: str, second: str) -> list[Any]:
    """What opens a question, from all before the first one and what opens the second."""
    for number in (0, 1):
        before, found, behind = second.partition(str(number + 1))
        if found and first.endswith(before + str(number) + behind):
            return [before, {"round": number}, behind]
    shared = _common_end(first, second)
    rest = second[: len(second) - len(shared)]
    return [{"later": rest}, shared] if rest else [shared]


def _at_first(opening: Sequence[Any]) -> str:
    """The opening of the first question."""
    said = (p if isinstance(p, str) else str(p.get("round", "")) for p in opening)
    return "".join(said)


def _systems(
    fields: Mapping[str, Any], prefix: str, system: dict[str, str], **more: Any
) -> dict[str, Any]:
    roles = {**fields["roles"], "system": system}
    return {**fields, "prefix": prefix, "roles": roles, **more}


def _with_tools(own: OwnJinja, fields: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The tool format that describes and calls as the Jinja does; the reason where none does."""
    if not parse_tools.shown(own):
        return dict(fields), "the Jinja leaves their definitions out; they are refused"
    if fields["roles"]["system"] is None:
        return dict(fields), "there is no system text to stand with; they are refused"
    why = "no tool format describes them as the Jinja does; they are refused"
    thought = "Hm.".join(_marks(fields)) if fields.get("thinking") else None
    opened = _at_first(fields["roles"]["user"]["open"])
    for guess in parse_tools.guesses(own, fields, opened):
        kept = _histories(guess) if thought else iter((guess,))
        found, differs = _first_equal(own, kept, parse_tools.probes(thought))
        if not differs:
            return found, ""
        why = differs
    return dict(fields), why


def _rows(
    words: Sequence[tuple[str, str]], system: str | None = None
) -> list[tuple[Conversation, bool]]:
    """Conversations of one to six turns, with and without a system text; whether to prompt."""
    found = []
    for (question, answer), count in product(words, range(1, 7)):
        messages = _turns([question, answer] * 3)[:count]
        for text in {None, system}:
            found.append((Conversation(messages, text), count % 2 == 1))
    return found


def _turns(words: Sequence[str]) -> tuple[Message, ...]:
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(words))


def _first_equal(
    own: OwnJinja,
    guesses: Iterator[dict[str, Any]],
    rows: Sequence[tuple[Conversation, bool]],
) -> tuple[dict[str, Any], str]:
    """The first guess without a difference; else the first guess, and how it differs."""
    first: dict[str, Any] | None = None
    why = "it stands where a template file has no place for it"
    try:
        for guess in guesses:
            differs = _difference(own, guess, rows)
            if not differs:
                return guess, ""
            if first is None:
                first, why = guess, differs
    except _Unlike as error:
        why = str(error)
    return first or {}, why


def _difference(
    own: OwnJinja, fields: Mapping[str, Any], rows: Sequence[tuple[Conversation, bool]]
) -> str:
    """Where the two texts of a probe part first; "" where they never do."""
    template = Template(_format(fields), bos=own.bos, eos=own.eos)
    header = fields["roles"]["assistant"]["open"]
    for conversation, prompting in rows:
        theirs = _told(own, conversation, header, prompting=prompting)
        try:
            spans = template.render(conversation, add_generation_prompt=prompting)
            ours = "".join(span.text for span in spans)
        except TemplateError as error:
            ours, refusal = None, f"refuses: {error.need}"
            if theirs is not None:
                return refusal
            continue
        if theirs is None:
            return "the Jinja refuses it"
        if ours != theirs:
            at = _parting(ours, theirs)
            start = max(0, at - _AROUND)
            end = at + _AROUND
            return f"{ours[start:end]!r}, where the Jinja has {theirs[start:end]!r}"
    return ""


def _told(own: OwnJinja, conversation: Conversation, header: str, *, prompting: bool) -> str | None:
    """The Jinja's text; behind a last answer without the header that a prompt ends with."""
    text = told(own, conversation, prompting=prompting)
    if prompting or text is None:
        return text
    asked_or_not = text == told(own, conversation, prompting=True)
    return text.removesuffix(header) if asked_or_not else text


def _is_dated(own: OwnJinja) -> bool:
    """Whether the text of a conversation is another one on another day."""
    asked = Conversation(_turns(["Q"]))
    another = own.text(asked, prompting=True, strftime_now=lambda _: "another day")
    return another != own.text(asked, prompting=True)


def _format(fields: Mapping[str, Any]) -> Format:
    return from_fields(fields, "the model's own template")


def _common_end(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return one[len(one) - length :]


def _parting(one: str, other: str) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
