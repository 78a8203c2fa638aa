"""The model's own Jinja template as a renderer.

Where its answers stand is found by `jinja_spans.py`, and once a conversation has shown it,
the next one of its kind is laid out without running the template (`traced.py`).

An answer that reads otherwise in the history than when it was given (stripped thoughts) is
not learned there: serving never asks for that text. `apart.py` gives it a text of its own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, lru_cache

from tunesmith.errors import TemplateError
from tunesmith.templates import jinja_tools
from tunesmith.templates.format import Thinking
from tunesmith.templates.jinja_source import literal
from tunesmith.templates.jinja_spans import Finder, Laid, laid
from tunesmith.templates.jinja_texts import Shape
from tunesmith.templates.order import ANSWERING, check_order
from tunesmith.templates.sandbox import compiled
from tunesmith.templates.shape import Remembered
from tunesmith.templates.shape import Shape as LikeShape
from tunesmith.templates.thoughts import has_thought, marks_in, without_thought
from tunesmith.templates.trace import Trace
from tunesmith.templates.traced import Traced
from tunesmith.types import Conversation, Message, Span, Tokenizer

_KEPT = 1024
_PROBED = (Shape(False, 1, True), Shape(False, 2, False), Shape(False, 4, False))


class OwnJinja:
    """A Jinja chat template and the tokens that it may use.

    Args:
        source: the template.
        tokenizer: whose bos, eos, pad, unk and added tokens it is rendered with.
        default_system: system text of a conversation that brings none; `None`: what the
            template itself puts there, which "" cannot take away.
        options: further variables that the template may read (`enable_thinking`); those that
            are `None` are not there for it.
        name: what errors and the plan call it.

    Raises:
        TemplateError: the template cannot be rendered, loops forever, or the spans of its
            answers cannot be found; `default_system` is empty.
    """

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        *,
        default_system: str | None = None,
        options: Mapping[str, bool | None] | None = None,
        name: str = "the model's own",
    ) -> None:
        if default_system == "":
            need = "a text, or not set: what stands there without one is up to the template"
            raise TemplateError("default_system", got='""', need=need)
        self.name, self.source, self.default_system = name, source, default_system
        self.where = f"template: {name}"
        if not source.strip():
            raise TemplateError(self.where, got="nothing", need="a Jinja chat template")
        self._render: Callable[..., str] = compiled(source, self.where)
        self._options = {key: value for key, value in (options or {}).items() if value is not None}
        facts = {
            **self._options,
            "bos_token": tokenizer.bos,
            "eos_token": tokenizer.eos,
            "pad_token": tokenizer.pad,
            "unk_token": tokenizer.unk,
        }
        self.bos, self.eos = tokenizer.bos or "", tokenizer.eos or ""
        self._facts = {key: value for key, value in facts.items() if value is not None}
        self._ends = tuple(t for t in (tokenizer.eos, *tokenizer.stops) if t)
        added = tokenizer.backend.get_added_tokens_decoder().values()
        self.specials = tuple(token.content for token in added if token.special)
        self._silenced = self._is_silenced()
        self.finder = Finder(
            self.where, self._write, self._ends, self.specials, silenced=self._silenced
        )
        self.left_out = self._marks_left_out()
        self._traced = Traced(self.finder.find)
        self._plain = lru_cache(_KEPT)(self._lay_out)  # asked twice: what reads as given, spans
        self._with_tools = lru_cache(_KEPT)(self._lay_out_tools)
        self._same = Remembered()
        self._probe()

    @property
    def stop_words(self) -> tuple[str, ...]:
        """Strings that end an answer: what the template writes there, eos, other stops."""
        return tuple(dict.fromkeys((self._probed_stop.strip(), *self._ends)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the plan should say about this template."""
        notes = []
        if self._options.get("enable_thinking") is False and not self._silenced:
            notes.append(
                f"template ({self.name}): enable_thinking: false changes nothing in its prompts; "
                "thoughts in answers stay and are learned"
            )
        if not self.finder.answers(_PROBED[-1])[0].trained:
            notes.append(
                f"template ({self.name}): later prompts show earlier answers without their "
                "thoughts, or changed in another way, so each answer is learned under its own "
                "prompt"
            )
        return tuple(notes)

    def jinja(self) -> str:
        """The template as it came, told what the run asked of it.

        The line breaks behind the statements are never shown: chat templates are rendered with
        `trim_blocks`.
        """
        told = [
            f"{{% set {key} = {str(value).lower()} %}}\n" for key, value in self._options.items()
        ]
        if self.default_system is not None:
            said = literal(self.default_system)
            told.append(
                "{% set messages = messages if messages and messages[0]['role'] == 'system' "
                f"else [{{'role': 'system', 'content': {said}}}] + messages %}}\n"
            )
        return "".join((*told, self.source))

    def identity(self) -> str:
        """Everything that decides its text."""
        day = self.today if "strftime_now" in self.source else ""
        return f"{self.jinja()} {self._facts} {self.specials} {day}"

    @property
    def today(self) -> datetime.date:
        """The day that its clock shows."""
        return datetime.date.today()

    @cached_property
    def _control_text(self) -> str:
        shapes = (Shape(False, 4, False), Shape(True, 4, False), Shape(False, 1, True))
        return self.finder.written(shapes)

    def control_text(self) -> str:
        """Everything that the template itself writes; its tokens steer the model."""
        return self._control_text

    def render(
        self, conversation: Conversation, *, add_generation_prompt: bool = False
    ) -> list[Span]:
        """The conversation as text in pieces; the joined pieces are the template's text.

        Raises:
            TemplateError: turns out of order; the template refuses the conversation, does
                not show part of it, or writes a question's prompt otherwise than it
                writes the same turns in the whole text.
        """
        check_order(self.name, conversation, add_generation_prompt=add_generation_prompt)
        conversation = self._shown(conversation)
        messages = conversation.messages
        learned = [m.trained is not False for m in messages if m.role in ANSWERING]
        return self._laid(conversation, add_generation_prompt).learning(learned)

    def shape(self, conversation: Conversation) -> LikeShape | None:
        """What decides every span but for the words, where a conversation has shown it.

        The template may ask the words anything: what it has asked, and heard, is part of it.
        """
        if jinja_tools.needs_tools(conversation):
            return None
        conversation = self._shown(conversation)
        found = self._find_path(*self._asked(conversation))
        if found is None:
            return None
        path, texts = found
        turns = tuple([(m.role, m.trained) for m in conversation.messages])
        if all(texts):
            return LikeShape((path, turns), texts)
        return LikeShape((path, turns, tuple(map(bool, texts))), [text for text in texts if text])

    def reads_as_given(self, conversation: Conversation) -> list[bool]:
        """For each answer, whether the text up to its end is the one it was given in."""

        def work() -> list[bool]:
            check_order(self.name, conversation, add_generation_prompt=False)
            return self._laid(self._shown(conversation), False).same

        return list(self._same.of(self.shape(conversation), work))

    def text(
        self,
        conversation: Conversation,
        *,
        prompting: bool,
        trace: Trace | None = None,
        **facts: object,
    ) -> str:
        """The template's text of a conversation, whatever it holds; a trace watches its words.

        `facts` go before its own.
        """
        system = conversation.system
        turns = [{"role": "system", "content": system}] if system is not None else []
        turns += [jinja_tools.as_openai(message) for message in conversation.messages]
        tools = jinja_tools.openai_tools(conversation.tools, f"{self.where}: tools")
        return self._render(
            trace,
            messages=turns,
            tools=tools,
            add_generation_prompt=prompting,
            **self._facts | facts,
        )

    def served(self, conversation: Conversation) -> str:
        """The text of a conversation with its last answer behind the prompt that is served."""
        text = self.text(conversation, prompting=False)
        asked = conversation._replace(messages=conversation.messages[:-1])
        return self.finder.texts.as_served(text, self.text(asked, prompting=True))

    def _marks_left_out(self) -> Thinking | None:
        """Marks of thoughts, where the run switches them off and prompts show that."""
        found = marks_in(self.source)
        off = self._options.get("enable_thinking") is False and self._silenced
        return Thinking(open=found[0], close=found[1]) if off and found else None

    def _shown(self, conversation: Conversation) -> Conversation:
        """The conversation as serving shows it: where thoughts are off, answers have none."""
        marks = self.left_out
        if marks is None or not any([has_thought(m.content, marks) for m in conversation.messages]):
            return conversation
        return conversation._replace(
            messages=tuple(
                m._replace(content=without_thought(m.content, marks)) if m.role in ANSWERING else m
                for m in conversation.messages
            )
        )

    def _is_silenced(self) -> bool:
        """Whether a prompt reads otherwise because thoughts are not asked for."""
        if self._options.get("enable_thinking") is True:
            return False
        asked = Conversation((Message("user", "?"),))
        thinking = self.text(asked, prompting=True, enable_thinking=True)
        return self.text(asked, prompting=True) != thinking

    def _laid(self, conversation: Conversation, prompting: bool) -> Laid:
        """Where everything stands; whether an answer is learned makes no difference to it."""
        system, words = self._asked(conversation)
        if not jinja_tools.needs_tools(conversation):
            return self._plain(system, words, prompting)
        messages = tuple(message._replace(trained=None) for message in conversation.messages)
        return self._with_tools(conversation._replace(messages=messages, system=system), prompting)

    def _asked(self, conversation: Conversation) -> tuple[str | None, tuple[str, ...]]:
        """System text and words of the turns."""
        system = conversation.system or self.default_system or None
        return system, tuple([message.content for message in conversation.messages])

    def _find_path(
        self, system: str | None, contents: tuple[str, ...]
    ) -> tuple[Hashable, list[str]] | None:
        shape = Shape(system is not None, len(contents), False)
        return self._traced.path_of(shape, contents if system is None else (system, *contents))

    def _lay_out(self, system: str | None, contents: tuple[str, ...], prompting: bool) -> Laid:
        shape = Shape(system is not None, len(contents), prompting)
        return self._traced.lay_out(shape, contents if system is None else (system, *contents))

    def _lay_out_tools(self, conversation: Conversation, prompting: bool) -> Laid:
        text = self.text(conversation, prompting=True) if prompting else self.served(conversation)
        return laid(jinja_tools.lay_out(self, text, conversation))

    def _write(
        self, system: str | None, contents: Sequence[str], prompting: bool, trace: Trace | None
    ) -> str:
        """The text of turns of which the user has the first."""
        turns = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(contents)]
        return self.text(Conversation(tuple(turns), system), prompting=prompting, trace=trace)

    def _probe(self) -> None:
        """Render the usual shapes once: fail now, not at row 70,000."""
        for shape in _PROBED:
            if self.finder.skeleton(shape) is None:
                need = "a template that shows every text of a conversation once, in order"
                raise TemplateError(self.where, got="a text is missing or moved", need=need)
        answers = [self.finder.answers(shape) for shape in _PROBED[1:]]
        self._probed_stop = answers[0][0].stop
        try:
            self.finder.skeleton(Shape(True, 4, False))
        except TemplateError:
            return  # no system text in this template: refused where a row has one
