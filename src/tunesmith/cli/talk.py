"""A chat line by line: what is a command, what is a question, and what is told about both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tunesmith.cli.chat_rows import save, tools_in
from tunesmith.cli.chat_view import View
from tunesmith.errors import ConfigError, DataError, Error
from tunesmith.infer.chat import REFUSALS, RESULT, Chat, Read
from tunesmith.infer.hf import Answer

Ask = Callable[[Chat, Callable[[str], None]], Answer]
"""One turn of one conversation; the second argument shows the answer as it comes."""

HELP = """\
/help              this list
/reset, clear      forget the conversation
/undo              forget the last question and its answer
/regenerate        answer the last question again, with the next seed
/system TEXT       another system message (alone: none) and a new conversation
/tools FILE        tools that the model may call, JSON (alone: none), and a new conversation
/tool TEXT         what the tools gave that the last answer calls
/image FILE        a picture that the next question is about
/set               the settings of sampling, and where each comes from
/set NAME VALUE    change one: /set temperature 0.2
/save FILE.jsonl   the conversation as one more row to train on (.json: into a list)
/exit, exit        leave"""
_LEAVE = ("exit", "quit", "/exit", "/quit")
_FORGET = ("clear", "/clear", "/reset")


class Talk:
    """One conversation, or the same questions to several models, each with its own history.

    Args:
        sides: the conversations by the names of their models; the last is saved.
        view: shows answers and what is told.
        reader: how answers are read under some tools.
        look: refuses a picture that the model cannot be shown.
    """

    def __init__(
        self,
        sides: Mapping[str, Chat],
        view: View,
        reader: Callable[[str | None], Read],
        look: Callable[[str], object] = lambda path: None,
    ) -> None:
        self.sides, self.view, self._reader, self._look = sides, view, reader, look
        self.refused = 0
        """How many lines could not be done."""
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self.view.note(HELP),
            **dict.fromkeys(_FORGET, self._reset),
            "/undo": self._undo,
            "/regenerate": self._regenerate,
            "/system": self._system,
            "/tools": self._tools,
            "/image": self._image,
            "/set": self._set,
            "/save": self._save,
        }

    @property
    def chat(self) -> Chat:
        """The conversation that is saved; all have the same settings, system message and tools."""
        return [*self.sides.values()][-1]

    def hold(self, lines: Iterable[str]) -> int:
        """Take lines until one leaves; how many were refused."""
        for line in lines:
            text = line.strip()
            if text in _LEAVE:
                break
            if text:
                self.take(text)
        return self.refused

    def take(self, text: str) -> None:
        """One line; what is refused costs no more than itself."""
        command, *rest = text.split(maxsplit=1)
        act = self._commands.get(command)
        if act is not None and (command.startswith("/") or not rest):
            try:
                act(rest[0] if rest else "")
            except Error as error:
                self.refused += 1
                self.view.note(f"refused: {error.line()}")
        elif command != RESULT and command.startswith("/") and command[1:].isalpha():
            self.refused += 1
            self.view.note(f"no command {command}\n{HELP}")
        elif command == RESULT and not self.chat.calls and len(self.sides) == 1:
            self.refused += 1
            self.view.note(f"refused: {_nothing_called(text).line()}")
        else:
            self._ask(lambda chat, on_text: chat.take(text, on_text))

    def _ask(self, ask: Ask) -> bool:
        """Put a question to every side; whether the last one has answered."""
        kept = {name: chat.kept() for name, chat in self.sides.items()}
        notes: list[str] = []
        done = False
        try:
            with self.view.turn(tuple(self.sides)) as turn:
                for name, chat in self.sides.items():
                    turn.begin(name)
                    try:
                        answer = ask(chat, turn.write)
                    except REFUSALS as error:
                        turn.refuse(error.line())
                        self.refused, done = self.refused + 1, False
                        continue
                    turn.end()
                    done = True
                    of = f"{name}: " if len(self.sides) > 1 else ""
                    notes += [f"{of}{note}" for note in _told(chat, answer)]
        except KeyboardInterrupt:
            for name, chat in self.sides.items():
                chat.back(kept[name])
            self.view.note("stopped; this question and its answer are forgotten")
            return False
        for note in dict.fromkeys(notes):
            self.view.note(note)
        return done

    def _reset(self, _: str) -> None:
        for chat in self.sides.values():
            chat.reset()
        self.view.note("a new conversation")

    def _undo(self, _: str) -> None:
        questions = [chat.undo() for chat in self.sides.values() if chat.messages]
        question = " ".join((questions or [self.chat.undo()])[-1].split())
        self.view.note(f"forgotten: {question[:60]}{'…' if len(question) > 60 else ''}")

    def _regenerate(self, _: str) -> None:
        if not self._ask(lambda chat, on_text: chat.regenerate(on_text)):
            return
        if self.chat.sampling.do_sample:
            self.view.note(f"seed {self.chat.seed}")
        else:
            self.view.note("do_sample is false: every seed gives this answer; /set do_sample true")

    def _system(self, text: str) -> None:
        for chat in self.sides.values():
            chat.set_system(text)
        self.view.note(f"a new conversation, system message: {self.chat.system or 'none'}")

    def _tools(self, name: str) -> None:
        text, names = tools_in(Path(name), where=f"/tools {name}") if name else (None, [])
        read = self._reader(text)
        for chat in self.sides.values():
            chat.set_tools(text, read)
        self.view.note(f"a new conversation, tools: {', '.join(names) or 'none'}")

    def _image(self, name: str) -> None:
        if not Path(name).is_file():
            raise DataError(f"/image {name}".rstrip(), got="no such file", need="a picture")
        self._look(name)
        for chat in self.sides.values():
            chat.show(name)
        self.view.note(f"{name}: part of the next question")

    def _set(self, said: str) -> None:
        name, *value = said.replace("=", " ", 1).split(maxsplit=1)[:2] or [""]
        if not name:
            self.view.note("\n".join(self.chat.sampling.lines()))
            return
        if not value:
            need = "a name and a value: /set temperature 0.2"
            raise ConfigError(f"/set {name}", got="no value", need=need)
        for chat in self.sides.values():
            chat.set_sampling(name, value[0])
        sampling = self.chat.sampling
        lines = sampling.lines()
        if not any(line.startswith(f"{name}: ") for line in lines):
            lines = [f"{name}: {getattr(sampling, name)}, not used while do_sample is false"]
        else:
            lines = [x for x in lines if x.startswith((f"{name}: ", "do_sample: "))]
        self.view.note("\n".join(lines))

    def _save(self, name: str) -> None:
        self.view.note(save(name, self.chat.conversation))


def _told(chat: Chat, answer: Answer) -> list[str]:
    """What a user has to know about an answer beside its words."""
    notes = [f"calls {call.name} with {call.arguments}" for call in chat.calls]
    if notes:
        notes.append(f"{RESULT} TEXT says what came of it")
    return [*notes, chat.why_cut(answer)] if answer.finish_reason == "length" else notes


def _nothing_called(text: str) -> DataError:
    return DataError(RESULT, got=text, need="an answer before it that calls a tool")
