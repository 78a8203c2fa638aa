"""A conversation laid out as a template file says: spans of text, learned or not.

What is learned is an answer's words and the end of its turn, nothing that the generation
prompt supplies and nothing that follows the end of the turn. The text is the one that serving
shows: an answer that reads otherwise in the history than when it was given is context here.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tunesmith.errors import TemplateError
from tunesmith.templates import calls, thoughts, tools, write_jinja
from tunesmith.templates.format import Format, Later, Piece, Round, Special, Text, Thinking
from tunesmith.templates.layout import Layout, Strings, layout
from tunesmith.templates.order import ANSWERING, check_order
from tunesmith.templates.page import Page
from tunesmith.templates.read_back import check_read_back, read_behind
from tunesmith.templates.shape import Remembered, Shape
from tunesmith.templates.spans import joined
from tunesmith.templates.thoughts import Form, History, after_thought, as_given, has_thought, parted
from tunesmith.types import Call, Conversation, Message, Span, Tokenizer


@dataclass(frozen=True)
class Template:
    """A template file bound to a tokenizer's bos and eos, and to what the run asks of it.

    Attributes:
        format: what the file says.
        bos: text of the tokenizer's begin token; empty where it has none.
        eos: text of the end token, after `replace_eos`.
        start: text of the begin token where the tokenizer itself puts it before a text.
        default_system: what takes the place of the file's default; `None`: the file's.
        enable_thinking: of a template with thoughts. True: an answer without one learns to
            think nothing; `None`: the prompt says so for it; False: thoughts are left out.
        preserve_thinking: earlier answers keep their thoughts.
        today: the date that some tool formats print; `None`: the clock's.
        steering: its marks of thoughts hold control tokens, so those that stand around a thought
            are the template's text, not a speaker's words.
        notes: what the plan should say about this pairing.
    """

    format: Format
    bos: str = ""
    eos: str = ""
    start: str = ""
    default_system: str | None = None
    enable_thinking: bool | None = True
    preserve_thinking: bool = False
    today: datetime.date | None = None
    steering: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name, as `template:` of a run file has it."""
        return self.format.name

    @property
    def named_stops(self) -> tuple[str, ...]:
        """Eos, and the stop words of the file."""
        return tuple(word for word in (self.eos, *self.format.stop_words) if word)

    @property
    def stop_words(self) -> tuple[str, ...]:
        """Strings that end an answer: eos, the file's stop words, other ends that are learned."""
        words = list(self.named_stops)
        for end in self.ends:
            if end and not any(word in end for word in words):
                words.append(end.strip() or end)
        return tuple(dict.fromkeys(words))

    @property
    def ends(self) -> tuple[str, ...]:
        """Last learned text of an answer and of one that calls tools; empty ones end in nothing."""
        if self.format.efficient_eos:
            return (self.eos,)
        return (self._layout.assistant.stop, self._layout.function.stop)

    @property
    def system(self) -> str:
        """System text of a conversation that brings none; empty if there is none."""
        text = self.format.default_system if self.default_system is None else self.default_system
        return text or ""

    @property
    def left_out(self) -> Thinking | None:
        """Marks of the thoughts that it takes out of answers; `None`: it takes none out."""
        return self.format.thinking if self.enable_thinking is False else None

    @property
    def tool_name(self) -> str | None:
        """Name of its tool format; `None`: it cannot express tools."""
        return self.format.tool_format

    @cached_property
    def tool_syntax(self) -> tools.ToolFormat:
        """How tools are described and called."""
        return tools.get(self.tool_name)

    def bind(
        self, tokenizer: Tokenizer, *, tool_format: str | None = None, **asked: Any
    ) -> Template:
        """The same template with this tokenizer's begin and end tokens.

        Args:
            tokenizer: whose tokens they are.
            tool_format: in place of the file's, with its own turns of calls.
            asked: what else the run asks of it; see the attributes.

        Raises:
            TemplateError: the template ends answers with eos and there is none; a
                single-token piece that the vocabulary lacks; an unknown tool format.
        """
        if tool_format is not None:
            other = replace(self, format=self.format.with_tool_format(tool_format))
            return other.bind(tokenizer, **asked)
        words, bos, eos = self.format.stop_words, tokenizer.bos, tokenizer.eos
        if self.format.replace_eos and words:
            eos = words[0]
        pieces = list(self._all_pieces())
        for piece in pieces:
            token = getattr(piece, "token", None)
            if token is not None and tokenizer.id_of(token) is None:
                need = f"one token of {tokenizer.path}; add_special_tokens can add it"
                raise TemplateError(f"template: {self.name}", got=token, need=need)
        if not eos and (Special(special="eos") in pieces or self.format.efficient_eos):
            need = f"an eos token in {tokenizer.path}: this template ends answers with it"
            raise TemplateError(f"template: {self.name}", got="no eos token", need=need)
        notes = ()
        if not bos and Special(special="bos") in pieces:
            notes = (f"template {self.name} begins with bos; the tokenizer has none, so none is",)
        starts = tokenizer.backend.encode("").tokens[:1] == [bos]
        start = bos if bos and starts else ""
        marks = self.format.thinking
        added = tokenizer.backend.get_added_tokens_decoder().values()
        steering = marks is not None and any(
            token.special and token.content in marks.open + marks.close for token in added
        )
        bound = replace(
            self, bos=bos or "", eos=eos or "", start=start, steering=steering, notes=notes, **asked
        )
        assert bound.tool_syntax, "an unknown one has been refused"
        return bound

    def render(
        self, conversation: Conversation, *, add_generation_prompt: bool = False
    ) -> list[Span]:
        """The conversation as text in pieces; the joined pieces are the whole text.

        Args:
            conversation: turns in order; ends with an answer, or with a prompt when
                `add_generation_prompt` is set.
            add_generation_prompt: end with the header of the answer to come.

        Raises:
            TemplateError: turns out of order, a role, a system text or tools that the
                template cannot express.
        """
        check_order(self.name, conversation, add_generation_prompt=add_generation_prompt)
        return self._page(conversation, self._forms(conversation.messages)).out

    def shape(self, conversation: Conversation) -> Shape | None:
        """What decides every span but for the words; `None`: the words decide too."""
        messages, marks = conversation.messages, self.format.thinking
        if conversation.tools or any([m.calls for m in messages]):
            return None
        if marks is not None and any([has_thought(m.content, marks) for m in messages]):
            return None
        system = conversation.system or self.system
        turns = tuple([(m.role, m.trained, not m.content) for m in messages])
        words = [m.content for m in messages if m.content]
        return Shape((not system, turns), [system, *words] if system else words)

    def render_as_given(self, conversation: Conversation) -> list[Span]:
        """Every answer as it was when it was given; what no prompt shows, all in one text."""
        return self._page_as_given(conversation).out

    def pairs(
        self, conversation: Conversation, *, served_history: bool = False
    ) -> list[tuple[str, str]]:
        """Prompt and response of each answer; the response with what follows its end.

        Args:
            conversation: ends with an answer.
            served_history: earlier answers as later prompts show them, else as they were given.
        """
        if served_history:
            check_order(self.name, conversation, add_generation_prompt=False)
            page = self._page(conversation, self._forms(conversation.messages))
        else:
            page = self._page_as_given(conversation)
        text = "".join(span.text for span in page.out)
        ends = [0, *(end for _, end in page.answers)]
        return [
            (text[before:start], text[start:end])
            for before, (start, end) in zip(ends, page.answers, strict=False)
        ]

    def said(self, text: str) -> str:
        """An answer as its message holds it, of what a model gave up to a stop word.

        Without what the template puts into every answer: a lead, the mark of no thought, an
        end that is no stop word.
        """
        return self._inside(text, self._layout.assistant)

    def read(self, text: str) -> tuple[str, tuple[Call, ...]]:
        """Words and calls of an answer: what `render` writes for a message, undone.

        Args:
            text: what a model gave, control tokens included, up to a stop word.
        """
        turn = self._layout.function
        words, calls = read_behind(self.tool_syntax, self._inside(text, turn), turn.between)
        return (words, calls) if calls else (self.said(text), ())

    def _inside(self, text: str, turn: Strings) -> str:
        stop = turn.stop
        for word in self.stop_words:
            stop = stop.partition(word)[0]
        return thoughts.unled(text.removesuffix(stop), self.format.thinking, turn.lead)

    def reads_as_given(self, conversation: Conversation) -> list[bool]:
        """For each answer, whether the text up to its end is the one it was given in."""
        if self.format.thinking is None:
            return [True] * (len(conversation.messages) // 2)
        shape, messages = self.shape(conversation), conversation.messages
        work = lambda: [same for _, same in self._forms(messages)[1::2]]  # noqa: E731
        return list(self._same.of(shape, work))

    @cached_property
    def _same(self) -> Remembered:
        return Remembered()

    def jinja(self) -> str:
        """A Jinja chat template that renders conversations to the same text."""
        return write_jinja.source(self)

    def identity(self) -> str:
        """Everything that decides its text."""
        day = self.today or datetime.date.today()
        return repr(replace(self, today=day if hasattr(self.tool_syntax, "DATED") else None))

    def control_text(self) -> str:
        """Everything that the template itself writes; its tokens steer the model."""
        pieces = [self.text((piece,), 1) for piece in self._all_pieces()]
        return "\n".join((*pieces, *self.stop_words, *self.tool_syntax.MARKS))

    def text(self, pieces: Text, number: int = 0) -> str:
        """Pieces of the file as the text that this tokenizer knows, in a round from 0."""
        return "".join(self._piece(piece, number) for piece in pieces)

    def _piece(self, piece: Piece, number: int) -> str:
        if isinstance(piece, str):
            return piece
        if isinstance(piece, Special):
            return {"bos": self.bos, "eos": self.eos, "start": self.start}[piece.special]
        if isinstance(piece, Later):
            return piece.later if number else ""
        return str(piece.round + number) if isinstance(piece, Round) else piece.token

    def _forms(self, messages: Sequence[Message]) -> list[tuple[Form, bool]]:
        """For each message how its words stand, and whether it reads as given."""
        marks, last = self.format.thinking, len(messages) - 1
        if marks is None:
            return [(Form(message.content), True) for message in messages]
        history = History(
            messages, marks, enable_thinking=self.enable_thinking, preserve=self.preserve_thinking
        )
        return [
            (history.form(i, last), history.reads_as_given(i, last))
            if message.role in ANSWERING
            else (Form(message.content), True)
            for i, message in enumerate(messages)
        ]

    def _page_as_given(self, conversation: Conversation) -> Page:
        check_order(self.name, conversation, add_generation_prompt=False)
        marks = self.format.thinking
        forms = [
            (as_given(m.content, marks, enable_thinking=self.enable_thinking), True)
            for m in conversation.messages
        ]
        return self._page(conversation, forms)

    def _page(self, conversation: Conversation, forms: Sequence[tuple[Form, bool]]) -> Page:
        layout, page = self._layout, Page(self._layout.prefix)
        system = self._system(conversation)
        inside = self.format.system_style == "inside_first_user"
        if (system or self.format.system_always) and not inside:
            turn = layout.need_system(self.name)
            page.turn(turn.open, system, turn.stop + turn.after)
            system = []
        header = layout.assistant.open
        for number, message in enumerate(conversation.messages):
            if message.role in ANSWERING:
                form, as_was_given = forms[number]
                self._answer(page, message, form, header, trained=as_was_given)
                continue
            asked = message.role == "user"
            turn = layout.user if asked else layout.need_result(self.name, number)
            page.own(self._opening(turn, number // 2))
            if system and message.role != "user":
                where = f"template: {self.name}: messages[{number}].role"
                need = "a user turn first: the system text stands inside it"
                raise TemplateError(where, got=message.role, need=need)
            if system:
                around = layout.need_system(self.name)
                page.turn(around.open, system, around.stop + around.after)
                system = []
            page.say(message.content)
            page.own(turn.stop + turn.after)
            header = layout.assistant.open if turn.then is None else turn.then
        if conversation.messages[-1].role not in ANSWERING:
            page.own(header + self._silenced())
        elif self.format.efficient_eos:
            trained = conversation.messages[-1].trained is not False and forms[-1][1]
            page.close()
            page.out.append(Span(self.eos, trained))
        page.close()
        return page

    def _silenced(self) -> str:
        """What ends a prompt to keep the model from thinking."""
        marks = self.format.thinking
        return "" if marks is None or self.enable_thinking is True else marks.none

    def _system(self, conversation: Conversation) -> list[Span]:
        """What the system turn says: the system text, then the tools."""
        text = conversation.system or self.system
        said = [Span(text, control=False)] if text else []
        if not conversation.tools:
            return said
        known = calls.read_tools(conversation.tools, f"template: {self.name}: tools")
        if not known:
            return said
        around = self._layout.tools
        described = self.tool_syntax.describe(known, today=self.today or datetime.date.today())
        whole = [Span(around.open), *described, Span(around.stop + around.after)]
        if self.format.trim_tools and not said:
            whole = joined(whole)
            whole[0] = whole[0]._replace(text=whole[0].text.lstrip("\n"))
        return [*said, *whole]

    def _answer(
        self, page: Page, message: Message, form: Form, header: str, *, trained: bool
    ) -> None:
        trained = trained and message.trained is not False
        turn = self._layout.function if message.calls else self._layout.assistant
        silenced = form.none and self.enable_thinking is not True
        page.own(header + (form.none if silenced else ""))
        page.begin_answer()
        start = page.length
        page.learn(("" if silenced else form.none) + form.lead + turn.lead, trained)
        marks = self.format.thinking if self.steering else None
        for text, own in parted(form.words, marks) if marks else [(form.words, False)]:
            page.learn(text, trained, control=own)
        if message.calls:
            spans = [Span(turn.between + self._parting(form.words))]
            spans += self.tool_syntax.write(message.calls)
            if form.words and self.format.between is None:  # else the file says how they part
                text, said = "".join(s.text for s in spans), message._replace(content=form.words)
                check_read_back(self.tool_syntax, form.words + text, turn.between, said)
            for span in spans:
                page.learn(span.text, trained, control=span.control)
        page.learn(form.stop or turn.stop, trained)
        page.end_answer(start, turn.after, trained)

    def _parting(self, words: str) -> str:
        """What parts an answer's words from its calls."""
        if self.format.between is not None:
            marks = self.format.thinking
            said = words if marks is None else after_thought(words, marks)
            return self.format.between if said else ""
        return "" if not words or words[-1] in "\n>" else self.tool_syntax.BETWEEN

    def _opening(self, turn: Strings, number: int) -> str:
        return self.text(turn.rounds, number) if turn.rounds else turn.open

    def _all_pieces(self) -> Text:
        roles = self.format.roles
        turns = [getattr(roles, role) for role in type(roles).model_fields]
        texts = [
            text
            for t in (*turns, self.format.tools)
            if t is not None
            for text in (t.open, t.lead, t.stop, t.after, t.then or ())
        ]
        return tuple(piece for text in (self.format.prefix, *texts) for piece in text)

    @cached_property
    def _layout(self) -> Layout:
        return layout(self.format, self.text, results=bool(self.tool_name))
