"""Does a template fit a tokenizer: what ends an answer, and the difference to the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tunesmith.errors import TemplateError
from tunesmith.templates.choose import Renderer
from tunesmith.templates.dated import DatedJinja
from tunesmith.templates.examples import PLAIN, WITH_TOOLS, with_thoughts
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.order import PROMPTING
from tunesmith.templates.render import Template
from tunesmith.types import Conversation, Tokenizer

_AROUND = 40


class Mismatch(NamedTuple):
    """The first place where two renderings of one conversation part."""

    probe: str
    position: int
    """Characters from the start of the text."""
    ours: str
    """What the named template has there."""
    theirs: str
    """What the model's own template has there, or why it has nothing."""


def stop_ids(renderer: Renderer, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer, sorted: eos and the stop words that are one token."""
    found = set()
    for word in (*renderer.stop_words, *tokenizer.stops):
        whole = tokenizer.id_of(word)
        if whole is None:
            ids = tokenizer.backend.encode(word, add_special_tokens=False).ids
            whole = ids[0] if len(ids) == 1 else None
        if whole is not None:
            found.add(whole)
    return tuple(sorted(found))


def jinja_to_serve(renderer: Renderer, tokenizer: Tokenizer) -> str:
    """The Jinja chat template that belongs beside what was trained.

    The model's own, byte for byte, where it says the same on every probe, tools and thoughts
    included; else the one that the template writes.
    """
    own = tokenizer.chat_template
    same = own is not None and not mismatch(renderer, tokenizer, probes_for(renderer))
    return own if own is not None and same else renderer.jinja()


def probes_for(renderer: Renderer, *, tools: bool = True) -> dict[str, Conversation]:
    """Every conversation on which a template is compared, in its own marks of thoughts.

    Args:
        renderer: the template.
        tools: whether those with tools matter.
    """
    probes = PLAIN | WITH_TOOLS if tools else PLAIN
    marks = renderer.format.thinking if isinstance(renderer, Template) else None
    if marks is None:
        return probes
    return probes | with_thoughts(marks.open, marks.close)


def mismatch(
    renderer: Renderer, tokenizer: Tokenizer, probes: Mapping[str, Conversation] = PLAIN
) -> list[Mismatch]:
    """Where the template differs from the one that the model brings; empty: nowhere.

    A model without a template of its own has nothing to differ from.

    Args:
        renderer: the template.
        tokenizer: with the model's own.
        probes: what both lay out, by name.
    """
    source = tokenizer.chat_template
    if source is None or source == renderer.jinja():
        return []
    try:
        own = _on_the_same_day(source, tokenizer, renderer)
    except TemplateError as error:
        return [Mismatch("any", 0, renderer.name, str(error))]
    found = []
    for name, conversation in probes.items():
        asking = conversation.messages[-1].role in PROMPTING
        try:
            ours = _text(renderer, conversation, asking)
        except TemplateError:  # no row can be like this one
            continue
        try:
            theirs = own.text(conversation, prompting=asking)
        except TemplateError as error:
            found.append(Mismatch(name, 0, ours[:_AROUND], f"refuses: {error.got}"))
            continue
        if ours != theirs:
            place = _parting(ours, theirs)
            start = max(0, place - _AROUND // 2)
            around = slice(start, place + _AROUND)
            found.append(Mismatch(name, place, ours[around], theirs[around]))
    return found


def _on_the_same_day(source: str, tokenizer: Tokenizer, renderer: Renderer) -> OwnJinja:
    today = renderer.today if isinstance(renderer, Template | DatedJinja) else None
    if today is None:
        return OwnJinja(source, tokenizer)
    return DatedJinja(source, tokenizer, today=today)


def _text(renderer: Renderer, conversation: Conversation, asking: bool) -> str:
    spans = renderer.render(conversation, add_generation_prompt=asking)
    return "".join(span.text for span in spans)


def _parting(one: str, other: str) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
