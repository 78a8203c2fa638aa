"""A template as FastChat and LLaVA write it: separators between speakers instead of turns.

The text is that of LLaVA's `get_prompt`, after the bos that its tokenizer puts in front. What
is learned is an answer with the separator that ends it. Deviations from LLaVA: an empty message
keeps its separator; `messages` stand in training texts too, as serving shows them; `PLAIN`
keeps the question's words, where LLaVA's projector training leaves only the image.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tunesmith.errors import TemplateError

STYLES = ("SINGLE", "TWO", "MPT", "LLAMA_2", "PLAIN")
_UNNAMED = "Unknown"
_TEXTS = ("system", "sep", "version")
_START = {"special": "start"}


@dataclass(frozen=True)
class Conversation:
    """The keys of LLaVA's `conversation.py`, in its order.

    Attributes:
        system: system text of conversations that bring none.
        roles: names (of MPT: whole headers) of user and assistant; PLAIN and LLAMA_2 show none.
        messages: pairs of role and text that every conversation begins with.
        offset: how many of `messages` a page does not show; the text has them all.
        sep_style: SINGLE, TWO and MPT put `sep` after the system text and after a question;
            LLAMA_2 puts `[INST]` around a question and `sep` before it; PLAIN has no roles.
        sep: the first separator.
        sep2: ends an answer of TWO, LLAMA_2 and PLAIN. PLAIN without it: nothing after a
            question, `sep` after an answer, as projector alignment has it.
        version: the name that `template:` finds it by.

    Raises:
        TemplateError: an unknown `sep_style` (the nearest is named), a missing `sep2` or
            `roles`, a value of another kind, messages that are no pairs in turn.
    """

    system: str = ""
    roles: Sequence[str] = ()
    messages: Sequence[Sequence[str]] = ()
    offset: int = 0
    sep_style: str = "SINGLE"
    sep: str = "###"
    sep2: str | None = None
    version: str = _UNNAMED

    def __post_init__(self) -> None:
        """Plain values in place of enums and lists, checked."""
        style = getattr(self.sep_style, "name", self.sep_style)
        style = str(style).removeprefix("SeparatorStyle.")
        object.__setattr__(self, "sep_style", style)
        if style not in STYLES:
            near = difflib.get_close_matches(style.upper(), STYLES, 1, cutoff=0.3)
            self._refuse("sep_style", self.sep_style, f"one of {', '.join(STYLES)}", *near)
        for key in _TEXTS:
            if not isinstance(getattr(self, key), str):
                self._refuse(key, getattr(self, key), "a text")
        if self.sep2 is not None and not isinstance(self.sep2, str):
            self._refuse("sep2", self.sep2, "a text")
        self._check_ends()
        self._check_messages()

    @property
    def named(self) -> bool:
        """Whether it says what it is called."""
        return self.version != _UNNAMED

    @property
    def ends(self) -> tuple[str, str]:
        """What ends a question and an answer."""
        if self.sep_style == "LLAMA_2":
            return " [/INST]", f" {self.sep2}"
        if self.sep_style in ("SINGLE", "MPT"):
            return self.sep, self.sep
        if self.sep2 is None:
            return "", self.sep
        return self.sep, self.sep2

    def template(self) -> dict[str, Any]:
        """What a template file would say."""
        asked, answered = self.ends
        user, header, lead = self._headers()
        told = self._told(user, header + lead)
        llama = self.sep_style == "LLAMA_2"
        system: dict[str, Any] | None = {"stop": self.sep if self.sep_style != "PLAIN" else ""}
        prefix: list[Any] = [_START]
        if llama:
            system = {"open": "<<SYS>>\n", "stop": "\n<</SYS>>\n\n"}
        if llama and told and self.system:
            first = told.removeprefix(user)  # the system text stands inside the first question
            system = {"open": user + system["open"], "stop": system["stop"], "after": first}
        elif llama and told:
            system, prefix = None, [_START, told]
        else:
            system["after"] = told
        opening = [self.sep, user] if told else [{"later": self.sep}, user]
        return {
            "name": self.version,
            "source": "a conversation of separators",
            "prefix": prefix,
            "default_system": self.system or None,
            "system_style": "inside_first_user" if llama and not told else "own_turn",
            "system_always": system is not None and (bool(told) or not llama),
            "stop_words": [answered.strip(" ") or answered],
            "roles": {
                "system": system,
                "user": {"open": [p for p in opening if p] if llama and self.sep else user,
                         "stop": asked},
                "assistant": {"open": header, "lead": lead, "stop": answered},
            },
        }  # fmt: skip

    def _headers(self) -> tuple[str, str, str]:
        """What opens a question; what opens an answer, as prompts end; what the model adds."""
        if self.sep_style == "PLAIN":
            return "", "", ""
        if self.sep_style == "LLAMA_2":
            return "[INST] ", "", " "
        user, assistant = self.roles
        if self.sep_style == "MPT":
            return user, assistant, ""
        return f"{user}: ", f"{assistant}:", " "

    def _told(self, user: str, assistant: str) -> str:
        """The text of `messages`."""
        out = ""
        for number, (_, words) in enumerate(self.messages):
            between = self.sep if self.sep_style == "LLAMA_2" and number and not number % 2 else ""
            out += between + (user, assistant)[number % 2] + words + self.ends[number % 2]
        return out

    def _check_ends(self) -> None:
        if self.sep2 is None and self.sep_style in ("TWO", "LLAMA_2"):
            self._refuse("sep2", None, f"the text that ends an answer of {self.sep_style}")
        if not self.ends[1].strip(" "):
            alone = self.sep2 is None or self.sep_style in ("SINGLE", "MPT")
            key = "sep" if alone else "sep2"
            self._refuse(key, self.ends[1], "a separator that a model can stop at")
        needed = self.sep_style in ("SINGLE", "TWO", "MPT")
        if (needed or self.roles) and not _is_pair(self.roles):
            self._refuse("roles", self.roles, "two texts: what user and assistant are called")

    def _check_messages(self) -> None:
        if not isinstance(self.messages, list | tuple):
            self._refuse("messages", self.messages, "a list of pairs of role and words")
        for number, message in enumerate(self.messages):
            where = f"messages[{number}]"
            if not _is_pair(message) or not message[1]:
                self._refuse(where, message, "a role and its words")
            expected = self.roles[number % 2] if self.roles else message[0]
            if message[0] != expected:
                self._refuse(where, message[0], f"{expected}: the two speak in turn")
        if len(self.messages) % 2:
            self._refuse("messages", f"{len(self.messages)} messages", "an answer at the end")
        if not isinstance(self.offset, int) or not 0 <= self.offset <= len(self.messages):
            self._refuse("offset", self.offset, f"from 0 to {len(self.messages)}, its messages")

    def _refuse(self, key: str, got: object, need: str, hint: str = "") -> None:
        name = f"conversation {self.version}" if self.named else "conversation"
        raise TemplateError(f"{name}: {key}", got=got, need=need, hint=hint)


def _is_pair(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) == 2
    return listed and all(isinstance(text, str) for text in value)


KEYS = tuple(field.name for field in fields(Conversation))
_OWN = {"sep_style", "sep", "sep2", "offset"}


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a document of a template file is a conversation of separators."""
    return bool(_OWN & set(document))


def read(document: Mapping[str, Any], where: str) -> Conversation:
    """The conversation that a document says.

    Raises:
        TemplateError: an unknown key (the nearest is named), no `sep_style`, a wrong value.
    """
    for key in document:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            need = f"a key of a conversation: {', '.join(KEYS)}"
            raise TemplateError(f"{where}: {key}", need=need, hint="".join(near))
    if "sep_style" not in document:
        need = f"one of {', '.join(STYLES)}"
        raise TemplateError(f"{where}: sep_style", got=None, need=need)
    try:
        return Conversation(**document)
    except TemplateError as error:
        place = error.where.rpartition(": ")[2]
        raise TemplateError(
            f"{where}: {place}", got=error.got, need=error.need, hint=error.hint
        ) from None
