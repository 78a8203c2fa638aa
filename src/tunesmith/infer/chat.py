"""A conversation with a model, turn by turn; no terminal, no files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tunesmith.errors import DataError, ModelError, TemplateError
from tunesmith.infer.hf import Answer
from tunesmith.infer.sampling import Sampling, changed
from tunesmith.types import Call, Conversation, Media, Message

REFUSALS = (DataError, ModelError, TemplateError)
"""What a question can be refused with; the next one may be answered."""
PICTURE = "<image>"
"""Where a picture stands in a question."""
RESULT = "/tool"
"""What a line begins with that says what the called tools gave."""

Read = Callable[[Answer], tuple[str, tuple[Call, ...]]]
"""From an answer to the words that the history keeps of it, and the tools that it calls."""


def as_text(answer: Answer) -> tuple[str, tuple[Call, ...]]:
    """An answer that calls nothing."""
    return answer.text, ()


class Answers(Protocol):
    """Anything that answers a conversation: an engine."""

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer the last message."""
        ...


class Chat:
    """The history of one conversation.

    A turn joins the history only together with its answer: after an error or an
    interruption the conversation stands as before the question.

    Args:
        engine: answers.
        sampling: of each answer.
        system: the system message.
        tools: JSON text of the tools that the model may call, as in rows of data.
        read: how answers are read, calls included.
    """

    def __init__(
        self,
        engine: Answers,
        sampling: Sampling,
        *,
        system: str | None = None,
        tools: str | None = None,
        read: Read = as_text,
    ) -> None:
        self._engine, self._read = engine, read
        self.sampling = sampling
        self.system, self.tools = system, tools
        self.messages: tuple[Message, ...] = ()
        self.coming: tuple[Media, ...] = ()
        """Pictures that the next question is about."""
        self._media: tuple[Media, ...] = ()  # of all messages, in order
        self._again = 0  # how often the last question has been answered again

    @property
    def conversation(self) -> Conversation:
        """What has been said, as a row of data would hold it."""
        return Conversation(self.messages, self.system, self.tools, self._of(self.messages))

    def show(self, picture: str) -> None:
        """A picture that the next question is about.

        Args:
            picture: path of its file.
        """
        self.coming = (*self.coming, Media("image", picture))

    def _of(self, messages: tuple[Message, ...]) -> tuple[Media, ...]:
        """The pictures of some first messages."""
        return self._media[: sum(message.content.count(PICTURE) for message in messages)]

    @property
    def calls(self) -> tuple[Call, ...]:
        """The tools that the last answer calls."""
        return self.messages[-1].calls if self.messages else ()

    def say(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Ask, and remember question and answer.

        Raises:
            ModelError: the conversation has outgrown the model's context.
            DataError: the question is no text.
        """
        if PICTURE in text:
            raise DataError("question", got=PICTURE, need="/image FILE, which shows a picture")
        asked = PICTURE * len(self.coming) + text
        answer = self._ask(self.messages, Message("user", asked), on_text, coming=self.coming)
        self.coming = ()
        return answer

    def observe(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Tell what the called tools gave, and go on as in `say`.

        Raises:
            DataError: the last answer calls no tool.
        """
        if not self.calls:
            raise DataError(RESULT, got=text, need="an answer before it that calls a tool")
        return self._ask(self.messages, Message("observation", text), on_text)

    def take(self, line: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """A line as it is typed: a question, or what tools gave behind `/tool`."""
        command, _, rest = line.partition(" ")
        return self.observe(rest, on_text) if command == RESULT else self.say(line, on_text)

    def regenerate(self, on_text: Callable[[str], None] | None = None) -> Answer:
        """Answer the last question once more, with the next seed; the old answer stays if not.

        Raises:
            DataError: nothing has been answered.
        """
        if not self.messages:
            raise DataError("/regenerate", got="no answer yet", need="a question before it")
        *before, question, _ = self.messages
        return self._ask(tuple(before), question, on_text, again=self._again + 1)

    @property
    def seed(self) -> int:
        """The one that the last answer was drawn with."""
        return self.sampling.seed + self._again

    def undo(self) -> str:
        """Forget the last question and its answer; the question.

        Raises:
            DataError: there is none.
        """
        if not self.messages:
            raise DataError("/undo", got="no question yet", need="a question before it")
        *before, question, _ = self.messages
        self.messages, self._again = tuple(before), 0
        return question.content

    def _ask(
        self,
        before: tuple[Message, ...],
        message: Message,
        on_text: Callable[[str], None] | None,
        *,
        again: int = 0,
        coming: tuple[Media, ...] = (),
    ) -> Answer:
        _refuse_bytes(message.content)
        asked = (*before, message)
        media = (*self._of(before), *coming) if coming else self._of(asked)
        conversation = Conversation(asked, self.system, self.tools, media)
        sampling = self.sampling._replace(seed=self.sampling.seed + again)
        answer = self._engine.generate(conversation, sampling, on_text)
        words, calls = self._read(answer)
        self.messages = (*asked, Message("function" if calls else "assistant", words, None, calls))
        self._again, self._media = again, media
        return answer

    def why_cut(self, answer: Answer) -> str:
        """What ended an answer before its end."""
        count = len(answer.ids)
        if count >= self.sampling.max_new_tokens:
            return f"cut after {count} tokens: max_new_tokens={count}; a larger one goes on"
        return f"cut after {count} tokens: the context of the model is full; /reset empties it"

    def reset(self) -> None:
        """Forget the conversation; the system message stays."""
        self.messages, self._again = (), 0
        self.coming = ()

    def set_system(self, text: str) -> None:
        """Take another system message ("": none) and begin anew."""
        self.system = text or None
        self.reset()

    def set_tools(self, tools: str | None, read: Read) -> None:
        """Take other tools (`None`: none), with how answers are read now, and begin anew."""
        self.tools, self._read = tools, read
        self.reset()

    def set_sampling(self, name: str, value: str) -> None:
        """Change a setting of the answers to come; what has been said stays.

        Raises:
            ConfigError: no setting of that name, or a value out of its bounds.
        """
        self.sampling = changed(self.sampling, name, value, place="/set")

    def kept(self) -> tuple[tuple[Message, ...], int]:
        """Where the conversation stands, for `back`."""
        return self.messages, self._again

    def back(self, kept: tuple[tuple[Message, ...], int]) -> None:
        """Stand there again."""
        self.messages, self._again = kept


def _refuse_bytes(text: str) -> None:
    """Bytes that are no text in the encoding of the input come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf8", "surrogateescape")
        raise DataError("question", got=raw, need="text in UTF-8") from None
