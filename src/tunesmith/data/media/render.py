"""A template that writes what stands for media where the conversation has their marks."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.media.family import Family
from tunesmith.data.media.marks import MARK, number_of
from tunesmith.templates import Renderer
from tunesmith.templates.format import Thinking
from tunesmith.templates.shape import Shape
from tunesmith.types import Conversation, Span


class Seeing:
    """A renderer of conversations with media; of others it is the renderer that it is made of.

    Args:
        renderer: the template.
        family: what the model makes of media.
    """

    def __init__(self, renderer: Renderer, family: Family) -> None:
        self.renderer, self.family = renderer, family

    @property
    def name(self) -> str:
        """That of the template."""
        return self.renderer.name

    @property
    def stop_words(self) -> tuple[str, ...]:
        """Those of the template."""
        return self.renderer.stop_words

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the template."""
        return self.renderer.notes

    @property
    def left_out(self) -> Thinking | None:
        """See `Renderer`."""
        return self.renderer.left_out

    def render(
        self, conversation: Conversation, *, add_generation_prompt: bool = False
    ) -> list[Span]:
        """The conversation as text in pieces, those of media never learned.

        Args:
            conversation: with marks in the places of its media (`marks.marked`).
            add_generation_prompt: see `Renderer`.
        """
        found = self.renderer.render(conversation, add_generation_prompt=add_generation_prompt)
        if not conversation.media:
            return found
        parts = [part for span in found for part in self._parts(span, conversation)]
        return self.family.arranged(parts)

    def _parts(self, span: Span, conversation: Conversation) -> Iterator[Span]:
        start = 0
        for found in MARK.finditer(span.text):
            number = number_of(found[0])
            if number >= len(conversation.media):
                continue  # a private character of the user's own
            if found.start() > start:
                yield span._replace(text=span.text[start : found.start()])
            yield Span(self.family.words(conversation.media[number]), medium=number)
            start = found.end()
        if start < len(span.text):
            yield span._replace(text=span.text[start:])

    def shape(self, conversation: Conversation) -> Shape | None:
        """See `Renderer`; media have sizes of their own."""
        return None if conversation.media else self.renderer.shape(conversation)

    def reads_as_given(self, conversation: Conversation) -> list[bool]:
        """See `Renderer`."""
        return self.renderer.reads_as_given(conversation)

    def jinja(self) -> str:
        """See `Renderer`."""
        return self.renderer.jinja()

    def identity(self) -> str:
        """What decides the text."""
        return f"{self.renderer.identity()} {self.family.identity()}"

    def control_text(self) -> str:
        """What the template and the processor write."""
        return f"{self.renderer.control_text()} {self.family.control_text()}"
