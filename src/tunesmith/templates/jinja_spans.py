"""Which part of a model's own template's text is an answer.

A template says what the text is, not who speaks in it. So each shape of conversation (how
many turns, with or without system text) is rendered once with marks in place of the words.
What stands between the marks is the template's; where the real rendering equals marks
replaced by words, every span is known. Where it does not (Qwen3 moves thoughts about), spans
are found from prefixes. Either way the rendering of the last prompt must begin the whole text;
earlier ones may end with more than the history keeps of them (a thought that is switched off).
What cannot be found is refused, never guessed.

The search asks texts only what a watched text can write down (`watched.py`): no lengths and
no places. An answer that reads otherwise in the history than when it was given is context.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, NoReturn

from tunesmith.errors import TemplateError
from tunesmith.templates.jinja_texts import ASKED, Given, Shape, Texts, Write, beyond, marks, spoken
from tunesmith.templates.trace import Trace
from tunesmith.types import Span


class Answer(NamedTuple):
    """What the template itself puts around an answer's words."""

    lead: str
    """After the generation prompt and before the words: the model must say it."""
    stop: str
    trained: bool
    """Whether it reads here as it did when it was the last turn."""


class Part(NamedTuple):
    """A piece of the text."""

    text: str
    answer: int | None = None
    """Which answer it belongs to, from 0, where that reads as it was given."""
    control: bool = True


class Found(NamedTuple):
    """A conversation's text in parts, empty ones among them."""

    parts: list[Part]
    same: list[bool]
    """For each answer, whether the text up to its end is the one it was given in."""


class Laid(NamedTuple):
    """A conversation laid out, as if all of its answers were learned."""

    spans: list[Span]
    answers: list[int | None]
    """For each span the answer that it belongs to, from 0."""
    same: list[bool]

    def learning(self, learned: Sequence[bool]) -> list[Span]:
        """The spans where some answers are learned and others are context."""
        spans = self.spans.copy()
        if not all(learned):
            for place, answer in enumerate(self.answers):
                if answer is not None and not learned[answer]:
                    spans[place] = Span(spans[place].text, False, spans[place].control)
        return spans


def laid(found: Found) -> Laid:
    """What was found, as spans."""
    parts = [part for part in found.parts if part.text]
    spans = [Span(part.text, part.answer is not None, part.control) for part in parts]
    return Laid(spans, [part.answer for part in parts], found.same)


class Finder:
    """Finds the answers in what a template writes.

    Args:
        where: what to name in errors.
        write: the template's text of system text, turns' words, and whether it prompts.
        ends: tokens that end an answer.
        specials: control tokens, one of which ends it where none of the others does.
        silenced: prompts end otherwise because thoughts are switched off.
    """

    def __init__(
        self,
        where: str,
        write: Write,
        ends: Sequence[str],
        specials: Sequence[str],
        *,
        silenced: bool = False,
    ) -> None:
        self.where, self.texts = where, Texts(write, silenced=silenced)
        self._ends, self._specials = ends, specials
        self._skeletons: dict[Shape, tuple[str, ...] | None] = {}
        self._answers: dict[Shape, tuple[Answer, ...]] = {}
        self._trims: dict[Shape, tuple[bool, ...]] = {}

    def find(self, shape: Shape, words: Sequence[str], trace: Trace | None = None) -> Found:
        """The parts of a conversation's text.

        Args:
            shape: the conversation's.
            words: its system text, if it has one, and its turns' words; the user begins.
            trace: watches the words.

        Raises:
            TemplateError: the template refuses the conversation, does not show part of it,
                or writes the prompt of an answer otherwise than it begins the whole text.
        """
        given = Given(self.texts, shape, words, trace)
        for number, prompt in enumerate(given.prompts):
            self.shown(given.text, prompt, 2 * number + 1)
        if not given.text.startswith(given.prompts[-1]):
            self.refuse_prefix(2 * len(given.prompts) - 1)
        try:
            return self._search(given, shape, words)
        except TemplateError:
            if not self._is_outdated():
                raise
        self._skeletons, self._answers, self._trims = {}, {}, {}
        return self._search(given, shape, words)

    def _is_outdated(self) -> bool:
        """Whether the template writes another date today."""
        usual = Shape(False, 2, False)
        return self.texts.pieces(usual) != self.skeleton(usual)

    def _search(self, given: Given, shape: Shape, words: Sequence[str]) -> Found:
        each = len(words)
        for trims in dict.fromkeys((self._trimmed(shape), (False,) * each, (True,) * each)):
            tidied = [w.strip() if trim else w for w, trim in zip(words, trims, strict=True)]
            if self._is_woven(given, shape, tidied):
                return self._as_woven(given, shape, tidied)
        return self._from_prefixes(given, shape)

    def skeleton(self, shape: Shape) -> tuple[str, ...] | None:
        """The template's own text around each text of the shape; `None`: not constant."""
        if shape not in self._skeletons:
            self._skeletons[shape] = self.texts.pieces(shape)
        return self._skeletons[shape]

    @cached_property
    def unshown(self) -> str:
        """What the history leaves out at the end of an earlier answer's prompt."""
        asked, history = (self.skeleton(shape) for shape in (ASKED, Shape(False, 4, False)))
        return beyond(asked, history)

    def shown(self, text: str, prompt: str, turn: int) -> str:
        """As much of the prompt of an answer as a whole text begins with.

        Raises:
            TemplateError: the text differs by more than the history leaves out.
        """
        if text.startswith(prompt):
            return prompt
        kept = prompt.removesuffix(self.unshown)
        return kept if text.startswith(kept) else self.refuse_prefix(turn)

    def _trimmed(self, shape: Shape) -> tuple[bool, ...]:
        """For each text whether the template takes white space from around it."""
        if shape not in self._trims:
            words = [f" {mark} " for mark in marks(shape)]
            try:
                text = self.texts(*spoken(shape, words), None)
            except TemplateError:  # of this odd conversation, not of the one that is laid out
                text = ""
            self._trims[shape] = tuple(word not in text for word in words)
        return self._trims[shape]

    def answers(self, shape: Shape) -> tuple[Answer, ...]:
        """Lead and stop of each answer of a shape whose text is constant."""
        if shape not in self._answers:
            pieces = self.skeleton(shape)
            assert pieces is not None, "asked only for constant shapes"
            self._answers[shape] = tuple(
                self._answer(shape, pieces, turn) for turn in range(1, shape.turns, 2)
            )
        return self._answers[shape]

    def written(self, shapes: Sequence[Shape]) -> str:
        """What the template itself writes in conversations of some shapes."""
        return "\n".join(piece for shape in shapes for piece in self._skeletons.get(shape) or ())

    def refuse_prefix(self, turn: int) -> NoReturn:
        """Refuse a template whose prompts do not begin its texts."""
        raise TemplateError(
            f"{self.where}: messages[{turn}]",
            got="the prompt of this answer does not begin the text of the whole conversation",
            need="a template whose generation prompt is a prefix: else what is learned is "
            "not what is served",
            hint="name a template: template: <name>",
        )

    def through_stop(self, answer: str) -> str:
        """An answer's text through the last token in it that ends or marks a turn."""
        found = [answer.rfind(word) + len(word) for word in self._ends if word in answer]
        found = found or [answer.rfind(w) + len(w) for w in self._specials if w in answer]
        if not found:
            self._refuse_end(answer)
        return answer[: max(found)]

    def _answer(self, shape: Shape, pieces: tuple[str, ...], turn: int) -> Answer:
        before = turn + shape.system
        prompt = self.skeleton(Shape(shape.system, turn, True))
        given = self.skeleton(Shape(shape.system, turn + 1, False))
        if prompt is None or prompt[:-1] != pieces[:before]:
            self.refuse_prefix(turn)
        tail = given[-1] if given else pieces[before + 1]
        stop = self._stop(tail)
        if not pieces[before].startswith(prompt[-1]):
            if turn + 1 == shape.turns or not prompt[-1].startswith(pieces[before]):
                self.refuse_prefix(turn)
            return Answer("", stop, False)
        lead = pieces[before][len(prompt[-1]) :]
        as_given = given is not None and given[before] == pieces[before]
        return Answer(lead, stop, as_given and pieces[before + 1].startswith(stop))

    def _stop(self, tail: str) -> str:
        """The beginning of what follows an answer, through the token that ends it."""
        for words in (self._ends, self._specials):
            found = [(tail.find(word), -len(word)) for word in words if word in tail]
            if found:
                start, length = min(found)
                return tail[: start - length]
        self._refuse_end(tail)

    def _refuse_end(self, text: str) -> NoReturn:
        got = text.strip() or repr(text)
        need = "an answer that ends with eos or another special token"
        raise TemplateError(f"{self.where}: end of an answer", got=got, need=need)

    def _is_woven(self, given: Given, shape: Shape, words: Sequence[str]) -> bool:
        """Whether the text and all prompts are the template's own with these words between."""
        pieces = self.skeleton(shape)
        if pieces is None or given.text != _woven(pieces, words):
            return False
        for number, prompt in enumerate(given.prompts):
            own = self.skeleton(Shape(shape.system, 2 * number + 1, True))
            if own is None or prompt != _woven(own, words[: len(own) - 1]):
                return False
        return True

    def _as_woven(self, given: Given, shape: Shape, words: Sequence[str]) -> Found:
        pieces, answers = self.skeleton(shape), self.answers(shape)
        assert pieces is not None, "the text is woven from it"
        out: list[Part] = []
        same: list[bool] = []
        rest = pieces[0]
        for number, word in enumerate(words):
            turn = number - shape.system
            if turn < 0 or turn % 2 == 0:
                out += [Part(rest), Part(word, control=False)]
                rest = pieces[number + 1]
                continue
            lead, stop, trained = answers[turn // 2]
            same.append(trained and self._reads_as_given(given, shape, turn, stop))
            answer = turn // 2 if same[-1] else None
            out += [Part(rest[: len(rest) - len(lead)]), Part(lead, answer)]
            out += [Part(word, answer, control=False), Part(stop, answer)]
            rest = pieces[number + 1][len(stop) :]
        return Found([*out, Part(rest)], same)

    def _reads_as_given(self, given: Given, shape: Shape, turn: int, stop: str) -> bool:
        tail = self._constant(Shape(shape.system, turn + 1, False))[-1]
        answered = given.answered(turn)
        if not answered.endswith(tail):
            return False
        return given.text.startswith(answered.removesuffix(tail) + stop)

    def _from_prefixes(self, given: Given, shape: Shape) -> Found:
        """Parts of a text whose words the template changed: found from prefixes."""
        out: list[Part] = []
        same: list[bool] = []
        done = ""
        for number, prompt in enumerate(given.prompts):
            turn = 2 * number + 1
            pieces = self._constant(Shape(shape.system, turn, True))
            asked = prompt.removesuffix(pieces[-1])
            if not prompt.endswith(pieces[-1]) or not asked.startswith(done):
                self.refuse_prefix(turn)
            if number == 0 and given.system is not None:
                said = self._said(asked, pieces[0], given.system)
                out += said
                done = said[0].text + said[1].text
            out += self._asked(asked.removeprefix(done), pieces[-2], given.contents[turn - 1])
            done = self.shown(given.text, prompt, turn)
            out.append(Part(done.removeprefix(asked)))
            shown = given.text.startswith(prompt)
            if turn == shape.turns:
                break
            answered = given.answered(turn)
            tail = self._constant(Shape(shape.system, turn + 1, False))[-1]
            said = answered.removesuffix(tail)
            if not answered.endswith(tail) or not said.startswith(prompt):
                self.refuse_prefix(turn)
            stop = self._stop(tail)
            same.append(shown and given.text.startswith(said + stop))
            if same[-1]:  # else rewritten in the history: stays context
                words = said.removeprefix(prompt)
                out += [Part(words, number, control=False), Part(stop, number)]
                done = said + stop
        return Found([*out, Part(given.text.removeprefix(done))], same)

    def _asked(self, region: str, before: str, words: str) -> list[Part]:
        """From the end of an answer to the end of the next question's words.

        Args:
            region: the text; it ends with the words.
            before: what the template writes before them, the last answer's stop included.
            words: the question.
        """
        for tidy in (_same, _stripped):
            tidied = tidy(words)
            if not region.endswith(tidied):
                continue
            head = region.removesuffix(tidied)
            said = Part(tidied, control=False)
            if head.endswith(before):  # with an answer before it that the template has rewritten
                told = head.removesuffix(before)
                return [Part(told, control=False), Part(before), said]
            if head in [before[start:] for start in range(len(before) + 1)]:
                return [Part(head), said]  # the answer and its stop are already told
        self._refuse_hidden(words)

    def _said(self, text: str, opening: str, words: str) -> list[Part]:
        """The template's own text, then the system text, trimmed or not."""
        for tidy in (_same, _stripped):
            tidied = tidy(words)
            if text.startswith(opening + tidied):
                return [Part(opening), Part(tidied, control=False)]
        self._refuse_hidden(words)

    def _refuse_hidden(self, words: str) -> NoReturn:
        need = "a template that shows every text of the conversation"
        raise TemplateError(self.where, got=words, need=need)

    def _constant(self, shape: Shape) -> tuple[str, ...]:
        pieces = self.skeleton(shape)
        return pieces if pieces is not None else self.refuse_prefix(shape.turns)


def _same(word: str) -> str:
    return word


def _stripped(word: str) -> str:
    return word.strip()


def _woven(pieces: tuple[str, ...], words: Sequence[str]) -> str:
    parts = [text for pair in zip(pieces, words, strict=False) for text in pair]
    return "".join((*parts, pieces[-1]))
