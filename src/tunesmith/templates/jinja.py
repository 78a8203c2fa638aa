"""The model's own Jinja template as a renderer: which part of its text is an answer.

A template says what the text is, not who speaks in it. So each shape of conversation (how
many turns, with or without system text) is rendered once with marks in place of the words.
What stands between the marks is the template's; where the real rendering equals marks
replaced by words, every span is known. Where it does not (Qwen3 moves thoughts about), spans
are found from prefixes: the rendering of each question's prompt must begin the whole text.
What cannot be found is refused, never guessed.

An answer that reads otherwise in the history than when it was given (stripped thoughts) is
not learned there: serving never asks for that text. `apart.py` gives it a text of its own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, NoReturn

from tunesmith.errors import TemplateError
from tunesmith.templates import jinja_tools
from tunesmith.templates.jinja_source import literal
from tunesmith.templates.order import check_order
from tunesmith.templates.sandbox import compiled
from tunesmith.types import Conversation, Message, Span, Tokenizer

_KEPT = 1024


class _Shape(NamedTuple):
    """What decides a template's own text, apart from the words."""

    system: bool
    turns: int
    prompting: bool


class _Answer(NamedTuple):
    """What the template itself puts around an answer's words."""

    lead: str
    """After the generation prompt and before the words: the model must say it."""
    stop: str
    trained: bool
    """Whether it reads here as it did when it was the last turn."""


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
        self._rendered = lru_cache(_KEPT)(self._render_once)  # asked twice: its shape, its spans
        self._skeletons: dict[_Shape, tuple[str, ...] | None] = {}
        self._answers: dict[_Shape, tuple[_Answer, ...]] = {}
        self._probe()

    @property
    def stop_words(self) -> tuple[str, ...]:
        """Strings that end an answer: what the template writes there, eos, other stops."""
        return tuple(dict.fromkeys((self._probed_stop.strip(), *self._ends)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the plan should say about this template."""
        if self._answers[_Shape(False, 4, False)][0].trained:
            return ()
        return (
            f"template {self.name} rewrites earlier answers of a conversation: "
            "each answer is learned from a text of its own",
        )

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
        today = datetime.date.today() if "strftime_now" in self.source else ""
        return f"{self.jinja()} {self._facts} {self.specials} {today}"

    @cached_property
    def _control_text(self) -> str:
        shapes = (_Shape(False, 4, False), _Shape(True, 4, False), _Shape(False, 1, True))
        return "\n".join(piece for shape in shapes for piece in self._skeletons.get(shape) or ())

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
        return self._rendered(conversation, add_generation_prompt)[0]

    def shape(self, conversation: Conversation) -> None:
        """Nothing: a template from elsewhere may ask the words anything."""

    def reads_as_given(self, conversation: Conversation) -> list[bool]:
        """For each answer, whether the text up to its end is the one it was given in."""
        check_order(self.name, conversation, add_generation_prompt=False)
        return self._rendered(conversation, False)[1]

    def _render_once(
        self, conversation: Conversation, add_generation_prompt: bool
    ) -> tuple[list[Span], list[bool]]:
        conversation = conversation._replace(
            system=conversation.system or self.default_system or None
        )
        if jinja_tools.needs_tools(conversation):
            text = self.text(conversation, prompting=add_generation_prompt)
            return jinja_tools.traced(self, text, conversation)
        system, messages = conversation.system, conversation.messages
        text = self._text(system, messages, add_generation_prompt)
        if not add_generation_prompt:
            prompt = self._text(system, messages[:-1], True)
            self._check_prefix(text, prompt, len(messages) - 1)
        shape = _Shape(system is not None, len(messages), add_generation_prompt)
        words = [*([system] if system is not None else []), *(m.content for m in messages)]
        pieces = self._skeleton(shape)
        for tidy in (_same, str.strip):
            tidied = [tidy(word) for word in words]
            if pieces is not None and _woven(pieces, tidied) == text:
                same = [answer.trained for answer in self._known_answers(shape)]
                return self._spans(pieces, tidied, messages, shape), same
        return self._traced(text, system, messages, add_generation_prompt)

    def text(self, conversation: Conversation, *, prompting: bool, **facts: object) -> str:
        """The template's text of a conversation, whatever it holds; `facts` go before its own."""
        system = conversation.system
        turns = [{"role": "system", "content": system}] if system is not None else []
        turns += [jinja_tools.as_openai(message) for message in conversation.messages]
        tools = jinja_tools.openai_tools(conversation.tools, f"{self.where}: tools")
        return self._render(
            messages=turns, tools=tools, add_generation_prompt=prompting, **self._facts | facts
        )

    def _text(self, system: str | None, messages: Sequence[Message], prompting: bool) -> str:
        return self.text(Conversation(tuple(messages), system), prompting=prompting)

    def _skeleton(self, shape: _Shape) -> tuple[str, ...] | None:
        """The template's own text around each text of the shape; `None`: not constant."""
        if shape not in self._skeletons:
            marks = [f"\ue000{i}\ue001" for i in range(shape.turns + shape.system)]
            turns = marks[shape.system :]
            roles = ("user", "assistant")
            messages = [Message(roles[i % 2], mark) for i, mark in enumerate(turns)]
            rest = self._text(marks[0] if shape.system else None, messages, shape.prompting)
            self._skeletons[shape] = _split(rest, marks)
        return self._skeletons[shape]

    def _spans(
        self,
        pieces: tuple[str, ...],
        words: list[str],
        messages: Sequence[Message],
        shape: _Shape,
    ) -> list[Span]:
        answers = self._known_answers(shape)
        out: list[Span] = []
        rest = pieces[0]
        for number, word in enumerate(words):
            turn = number - shape.system
            if turn > 0 and turn % 2 == 1:
                lead, stop, trained = answers[turn // 2]
                trained = trained and messages[turn].trained is not False
                out.append(Span(rest[: len(rest) - len(lead)]))
                out.append(Span(lead, trained))
                out.append(Span(word, trained, control=False))
                out.append(Span(stop, trained))
                rest = pieces[number + 1][len(stop) :]
                continue
            out.append(Span(rest))
            out.append(Span(word, control=False))
            rest = pieces[number + 1]
        out.append(Span(rest))
        return [span for span in out if span.text]

    def _known_answers(self, shape: _Shape) -> tuple[_Answer, ...]:
        """Lead and stop of each answer of a shape whose text is constant."""
        if shape not in self._answers:
            pieces = self._skeleton(shape)
            assert pieces is not None, "asked only for constant shapes"
            self._answers[shape] = tuple(
                self._known_answer(shape, pieces, turn) for turn in range(1, shape.turns, 2)
            )
        return self._answers[shape]

    def _known_answer(self, shape: _Shape, pieces: tuple[str, ...], turn: int) -> _Answer:
        before = turn + shape.system
        prompt = self._skeleton(_Shape(shape.system, turn, True))
        given = self._skeleton(_Shape(shape.system, turn + 1, False))
        if prompt is None or prompt[:-1] != pieces[:before]:
            self.refuse_prefix(turn)
        assert prompt is not None, "refused above"
        if not pieces[before].startswith(prompt[-1]):
            self.refuse_prefix(turn)
        lead = pieces[before][len(prompt[-1]) :]
        tail = given[-1] if given else pieces[before + 1]
        stop = self._stop(tail)
        as_given = given is not None and given[before] == pieces[before]
        return _Answer(lead, stop, as_given and pieces[before + 1].startswith(stop))

    def through_stop(self, answer: str) -> str:
        """An answer's text through the last token in it that ends or marks a turn."""
        found = [answer.rfind(word) + len(word) for word in self._ends if word in answer]
        found = found or [answer.rfind(w) + len(w) for w in self.specials if w in answer]
        if not found:
            need = "an answer that ends with eos or another special token"
            raise TemplateError(f"{self.where}: end of an answer", got=answer, need=need)
        return answer[: max(found)]

    def _stop(self, tail: str) -> str:
        """The beginning of what follows an answer, through the token that ends it."""
        for words in (self._ends, self.specials):
            found = [(tail.find(word), -len(word)) for word in words if word in tail]
            if found:
                start, length = min(found)
                return tail[: start - length]
        need = "an answer that ends with eos or another special token"
        raise TemplateError(f"{self.where}: end of an answer", got=tail, need=need)

    def _traced(
        self,
        text: str,
        system: str | None,
        messages: Sequence[Message],
        prompting: bool,
    ) -> tuple[list[Span], list[bool]]:
        """Spans of a text whose words the template changed: found from prefixes."""
        out: list[Span] = []
        same: list[bool] = []
        start = 0
        for turn in range(0, len(messages), 2):
            prompt = self._text(system, messages[: turn + 1], True)
            self._check_prefix(text, prompt, turn + 1)
            pieces = self._constant(_Shape(system is not None, turn + 1, True))
            if turn == 0 and system is not None:
                out += self._said(text, 0, len(pieces[0]), system)
                start = sum(len(span.text) for span in out)
            end = len(prompt) - len(pieces[-1])
            out += self._asked(text[start:end], pieces[-2], messages[turn].content)
            out.append(Span(pieces[-1]))
            start = len(prompt)
            if turn + 1 == len(messages):
                break
            given = self._text(system, messages[: turn + 2], False)
            tail = self._constant(_Shape(system is not None, turn + 2, False))[-1]
            if not given.startswith(prompt) or not given.endswith(tail):
                self.refuse_prefix(turn + 1)
            stop = self._stop(tail)
            end = len(given) - len(tail)
            same.append(text.startswith(given[: end + len(stop)]))
            if not same[-1]:
                continue  # rewritten in the history: stays context
            trained = messages[turn + 1].trained is not False
            out.append(Span(text[start:end], trained, control=False))
            out.append(Span(stop, trained))
            start = end + len(stop)
        if not prompting:
            out.append(Span(text[start:]))
        return [span for span in out if span.text], same

    def _asked(self, region: str, before: str, words: str) -> list[Span]:
        """From the end of an answer to the end of the next question's words.

        Args:
            region: the text; it ends with the words.
            before: what the template writes before them, the last answer's stop included.
            words: the question.
        """
        for tidied in (words, words.strip()):
            head = region.removesuffix(tidied)
            if len(head) + len(tidied) != len(region):
                continue
            if before.endswith(head):  # the answer and its stop are already told
                return [Span(head), Span(tidied, control=False)]
            if head.endswith(before):  # an answer that the template has rewritten
                told = head[: len(head) - len(before)]
                spans = [Span(told, control=False), Span(before)]
                return [*spans, Span(tidied, control=False)]
        need = "a template that shows every text of the conversation"
        raise TemplateError(self.where, got=words, need=need)

    def _said(self, text: str, start: int, end: int, words: str) -> list[Span]:
        """The template's text, then the words, trimmed or not."""
        for tidied in (words, words.strip()):
            if text.startswith(tidied, end):
                return [Span(text[start:end]), Span(tidied, control=False)]
        need = "a template that shows every text of the conversation"
        raise TemplateError(self.where, got=words, need=need)

    def _constant(self, shape: _Shape) -> tuple[str, ...]:
        pieces = self._skeleton(shape)
        return pieces if pieces is not None else self.refuse_prefix(shape.turns)

    def _check_prefix(self, text: str, prompt: str, turn: int) -> None:
        if not text.startswith(prompt):
            self.refuse_prefix(turn)

    def refuse_prefix(self, turn: int) -> NoReturn:
        """Refuse a template whose prompts do not begin its texts."""
        raise TemplateError(
            f"{self.where}: messages[{turn}]",
            got="the prompt of this answer does not begin the text of the whole conversation",
            need="a template whose generation prompt is a prefix: else what is learned is "
            "not what is served",
            hint="name a template: template: <name>",
        )

    def _probe(self) -> None:
        """Render the usual shapes once: fail now, not at row 70,000."""
        shapes = (_Shape(False, 1, True), _Shape(False, 2, False), _Shape(False, 4, False))
        for shape in shapes:
            if self._skeleton(shape) is None:
                need = "a template that shows every text of a conversation once, in order"
                raise TemplateError(self.where, got="a text is missing or moved", need=need)
        answers = [self._known_answers(shape) for shape in shapes[1:]]
        self._probed_stop = answers[0][0].stop
        try:
            self._skeleton(_Shape(True, 4, False))
        except TemplateError:
            return  # no system text in this template: refused where a row has one


def _same(word: str) -> str:
    return word


def _woven(pieces: tuple[str, ...], words: list[str]) -> str:
    parts = [text for pair in zip(pieces, words, strict=False) for text in pair]
    return "".join((*parts, pieces[-1]))


def _split(text: str, marks: list[str]) -> tuple[str, ...] | None:
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        pieces.append(before)
    if any(mark in text or any(mark in piece for piece in pieces) for mark in marks):
        return None
    return (*pieces, text)
