"""What a rendering may cost: steps for everything by the length of what it works on.

One rule: whoever goes through a value pays for all of it, a list as often as it is reached and
a text by its bytes; what comes out pays once more. So neither time nor memory can outgrow the
budget, whatever is done with the values. What could make much out of little is told how much it
would be before it is done. Not here: which operations there are (`sandbox.py`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sized
from typing import Any

import jinja2
from jinja2.utils import Namespace

from tunesmith.templates.trace import Trace
from tunesmith.templates.watched import Watched, Watching

STEPS = 3_000_000
"""Loop turns, calls, and pieces of 256 bytes that one rendering may take."""
TEXT_CHARACTERS = 1 << 25
_SMALL = 40
"""Characters that surely take less than 256 bytes."""
_BITS = 1 << 16
_WIDTH = 1000
_POWER = 64
LISTED = 1 << 22
"""Items of a list, and characters of a text that is taken apart into small ones."""
_CONTAINER = 4
"""Steps for opening a list or dict: more work than an item of it."""
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
_MANY = (list, tuple, set, frozenset, *_VIEWS)
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        {"strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "partition", "rpartition"}
        | {"replace", "join", "startswith", "endswith", "removeprefix", "removesuffix", "count"}
        | {"find", "rfind", "index", "rindex", "lower", "upper", "title", "capitalize", "swapcase"}
        | {"casefold", "center", "ljust", "rjust", "zfill", "format", "format_map", "isalnum"}
        | {"isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric"}
        | {"isprintable", "isspace", "istitle", "isupper", "unescape", "striptags"}
    ),
    list: frozenset({"index", "count", "copy"}),
    tuple: frozenset({"index", "count"}),
    range: frozenset({"index", "count"}),
    dict: frozenset({"get", "items", "keys", "values", "copy"}),
    float: frozenset({"is_integer"}),
}
"""What templates may call of plain values; changes of a list or dict the sandbox refuses."""
_BACKWARD = frozenset({"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"})
"""They compare all of an argument at each place."""


class OverBudget(jinja2.TemplateError):
    """More steps or text than a chat template can need."""


class Budget(threading.local):
    """What the rendering of a thread has cost, and where its words are watched."""

    steps = 0
    trace: Trace | None = None

    def spend(self, steps: int) -> None:
        """Count steps; refuse the one that is too many."""
        self.steps += steps
        if self.steps > STEPS:
            raise OverBudget(f"more than {STEPS:,} steps: it loops forever or nearly so")

    def text(self, text: str, times: int = 1) -> None:
        """Pay for going through a text."""
        if isinstance(text, Watched):
            if self.trace is not None:
                self.trace.count_text(times)
            return
        check_length(len(text))
        self.spend((text.__sizeof__() >> 8) * times)

    def through(self, value: Any) -> int:
        """Pay for going through a value with all that it holds; the characters of its text."""
        if type(value) is str and len(value) < _SMALL:
            return len(value)
        if isinstance(value, str):
            self.text(value)
            return str.__len__(value)
        if not isinstance(value, (*_MANY, dict, Namespace)):
            return 0
        pending, characters = [value], 0
        while pending:
            item = pending.pop()
            characters += 2
            if isinstance(item, str):
                self.text(item)
                characters += str.__len__(item)
                check_length(characters)
                continue
            if isinstance(item, Namespace):
                item = getattr(item, "_Namespace__attrs")  # noqa: B009 -- pyright knows it not
            if isinstance(item, dict):
                self.spend(_CONTAINER + 2 * len(item))
                pending += item.values()
                pending += item
            elif isinstance(item, _MANY):
                self.spend(_CONTAINER + len(item))
                pending += item
        return characters

    def once(self, value: Any) -> None:
        """Pay for going through the items of a value, but not through them."""
        if isinstance(value, Sized) and not isinstance(value, Watching):
            if isinstance(value, Watched):
                self.text(value)
            else:
                self.spend(len(value))

    def made(self, value: Any) -> Any:
        """Pay for what came out, as large as it is."""
        kind = type(value)
        if (kind is str and len(value) < _SMALL) or (kind is int and -_BITS < value < _BITS):
            return value  # the usual ones, at once
        if isinstance(value, str):
            self.text(value)
        elif isinstance(value, tuple):  # may be hashed, which goes through all of it
            self.through(value)
        elif isinstance(value, (list, dict)):
            check_length(len(value), LISTED)
            self.spend(value.__sizeof__() >> 8)
        elif isinstance(value, int) and value.bit_length() > _BITS:
            raise OverBudget(f"an integer of more than {_BITS:,} bits")
        return value

    def method(self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pay for a method of a plain value.

        Raises:
            OverBudget: not one of those that chat templates need, or what it makes is too large.
        """
        given = (*args, *kwargs.values())
        if isinstance(owner, Watched):  # what it can do is its own matter
            self.text(owner, 1 + (sum(map(self.through, given)) >> 4))
            return
        kind = next((kind for kind in _METHODS if isinstance(owner, kind)), None)
        if kind is None or name not in _METHODS[kind]:
            raise OverBudget(f"{name} of {type(owner).__name__}: no chat template needs it")
        characters = sum(map(self.through, given))
        if kind is not str:
            if kind is dict:
                self.spend(len(owner) if name == "copy" else 0)
            else:
                self.through(owner) if kind is not range else self.spend(len(owner))
            return
        self.text(owner, 1 + (characters >> 4) if name in _BACKWARD else 1)
        if name in ("center", "ljust", "rjust", "zfill"):
            check_widths(given)
        if name in ("format", "format_map"):
            check_format(owner, characters)
        if name == "join":
            items = given[0] if given and isinstance(given[0], Sized) else ()
            check_length(len(items) * len(owner) + characters)
        if name == "replace":
            check_replaced(owner, given)
        if name in ("split", "rsplit", "splitlines"):
            self.parts(owner, given)

    def parts(self, text: str, given: tuple[Any, ...]) -> None:
        """Pay for the parts that splitting a text gives."""
        cut = given[0] if given and isinstance(given[0], str) else ""
        if not cut and len(text) > LISTED:
            raise OverBudget(f"a text of {len(text):,} characters in small parts")
        self.spend((text.count(cut) if cut else len(text)) >> 2)


def check_length(length: int, most: int = TEXT_CHARACTERS) -> None:
    """Refuse what is too long to be made."""
    if length > most:
        raise OverBudget(f"a text or list of {length:,} items: at most {most:,}")


def check_combined(operator: str, left: Any, right: Any) -> None:
    """Refuse what an operator would make too much of."""
    if operator[0] not in "+*":
        return
    if operator != "**" and type(left) is int and type(right) is int:
        return
    most = TEXT_CHARACTERS if any(isinstance(v, str) for v in (left, right)) else LISTED
    if operator == "+":
        check_length(_length(left) + _length(right), most)
    elif operator == "*":
        for some, times in ((left, right), (right, left)):
            if isinstance(times, int):
                check_length(_length(some) * times, most)
    elif operator == "**" and abs(right) > _POWER:
        raise OverBudget("a power beyond any use")


def check_widths(values: Iterable[Any]) -> None:
    """Refuse a width beyond any use."""
    if any(isinstance(v, int) and not isinstance(v, bool) and abs(v) > _WIDTH for v in values):
        raise OverBudget(f"a width above {_WIDTH}")


def check_format(pattern: str, characters: int) -> None:
    """Refuse a pattern that makes much out of values of some characters."""
    if re.search(r"\d{4}|\*|\{[^}]*\{", pattern):
        raise OverBudget("a format with a width beyond any use")
    fields = pattern.count("{") + pattern.count("%")
    wide = _WIDTH if re.search(r"\d\d", pattern) else 0
    check_length(len(pattern) + fields * (characters + wide))


def check_replaced(text: str, given: tuple[Any, ...]) -> None:
    """Refuse a replacement that makes too much of a text."""
    if len(given) > 1 and isinstance(given[0], str) and isinstance(given[1], str):
        check_length(len(text) + text.count(given[0]) * len(given[1]))


def _length(value: Any) -> int:
    """How long a value is, or 0; a watched text is not asked."""
    if isinstance(value, str):
        return str.__len__(value)
    return len(value) if isinstance(value, (list, tuple)) else 0
