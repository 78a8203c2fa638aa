"""A conversation with a model, turn by turn; no terminal, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from tunesmith.errors import DataError, ModelError, TemplateError
from tunesmith.infer.hf import Answer
from tunesmith.infer.sampling import Sampling
from tunesmith.types import Call, Conversation, Message

HELP = """\
/help            this list
/reset, clear    forget the conversation
/tool TEXT       what the tools gave that the last answer calls
/system TEXT     another system message (alone: none) and a new conversation
/exit, exit      leave"""
PROMPT = "User: "
REPLY = "Assistant: "
REFUSALS = (DataError, ModelError, TemplateError)
"""What a question can be refused with; the next one may be answered."""
_LEAVE = ("exit", "quit", "/exit", "/quit")
_FORGET = ("clear", "/clear", "/reset")
_RESULT = "/tool"

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
        self._engine, self._sampling, self._read = engine, sampling, read
        self.system, self.tools = system, tools
        self.messages: tuple[Message, ...] = ()

    def say(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Ask, and remember question and answer.

        Raises:
            ModelError: the conversation has outgrown the model's context.
            DataError: the question is no text.
        """
        return self._ask(Message("user", text), on_text)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The tools that the last answer calls."""
        return self.messages[-1].calls if self.messages else ()

    def observe(self, text: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Tell what the called tools gave, and go on as in `say`.

        Raises:
            DataError: the last answer calls no tool.
        """
        if not self.calls:
            raise DataError(_RESULT, got=text, need="an answer before it that calls a tool")
        return self._ask(Message("observation", text), on_text)

    def take(self, line: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """A line as it is typed: a question, or what tools gave behind `/tool`."""
        command, _, rest = line.partition(" ")
        return self.observe(rest, on_text) if command == _RESULT else self.say(line, on_text)

    def _ask(self, message: Message, on_text: Callable[[str], None] | None) -> Answer:
        _refuse_bytes(message.content)
        asked = (*self.messages, message)
        conversation = Conversation(asked, self.system, self.tools)
        answer = self._engine.generate(conversation, self._sampling, on_text)
        words, calls = self._read(answer)
        self.messages = (*asked, Message("function" if calls else "assistant", words, None, calls))
        return answer

    def why_cut(self, answer: Answer) -> str:
        """What ended an answer before its end."""
        count = len(answer.ids)
        if count >= self._sampling.max_new_tokens:
            return f"cut after {count} tokens: max_new_tokens={count}; a larger one goes on"
        return f"cut after {count} tokens: the context of the model is full; /reset empties it"

    def reset(self) -> None:
        """Forget the conversation; the system message stays."""
        self.messages = ()

    def set_system(self, text: str) -> None:
        """Take another system message ("": none) and begin anew."""
        self.system = text or None
        self.messages = ()


def chat_loop(
    chat: Chat, lines: Iterable[str], write: Callable[[str], None], *, echo: bool = False
) -> int:
    """Hold a conversation: one question or command per line until `exit` or the end.

    Works with a terminal, a pipe or a list; `write` gets text as it comes. A question that
    is refused, and an answer that Ctrl-C (`KeyboardInterrupt`) ends, cost no more than that turn.

    Args:
        chat: where it stands.
        lines: what the user types.
        write: shows text.
        echo: show each line too, where no terminal does.

    Returns:
        How many questions were refused.
    """
    ask = "" if echo else PROMPT  # without a terminal the question follows its prompt at once
    refused = 0
    write(ask)
    for line in lines:
        text = line.strip()
        if text in _LEAVE:
            return refused
        if text:
            if echo:
                write(f"{PROMPT}{text}\n")
            refused += not _turn(chat, text, write)
        write(ask)
    write("" if echo else "\n")
    return refused


def _turn(chat: Chat, text: str, write: Callable[[str], None]) -> bool:
    """One line; false where it was refused."""
    command, _, rest = text.partition(" ")
    if text in _FORGET:
        chat.reset()
        write("(a new conversation)\n")
    elif command == "/system":
        chat.set_system(rest.strip())
        write(f"(a new conversation, system message: {chat.system or 'none'})\n")
    elif command == "/help":
        write(HELP + "\n")
    elif command != _RESULT and command.startswith("/") and command[1:].isalpha():
        write(f"(no command {command})\n{HELP}\n")
    else:
        return _ask(chat, text, write)
    return True


def _ask(chat: Chat, text: str, write: Callable[[str], None]) -> bool:
    write(REPLY)
    try:
        answer = chat.take(text, write)
    except REFUSALS as error:
        write(f"(refused: {error.line()})\n")
        return False
    except KeyboardInterrupt:
        write("\n(stopped; this question and its answer are forgotten)\n")
        return True
    write("\n")
    for call in chat.calls:
        write(f"(calls {call.name} with {call.arguments})\n")
    if chat.calls:
        write(f"({_RESULT} TEXT says what came of it)\n")
    if answer.finish_reason == "length":
        write(f"({chat.why_cut(answer)})\n")
    return True


def _refuse_bytes(text: str) -> None:
    """Bytes that are no text in the encoding of the input come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf8", "surrogateescape")
        raise DataError("question", got=raw, need="text in UTF-8") from None
