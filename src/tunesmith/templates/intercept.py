"""What Jinja does to watched texts without asking them: filters, tests, calls, operators.

Each either becomes a use that a `Watched` writes down, or is one that never looks at the
characters, or is refused. Lists and dicts may hold watched texts; what only takes them apart
is let through. Not here: the budget, and what runs without a trace (`sandbox.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import GeneratorType
from typing import Any

from jinja2 import Undefined
from jinja2.runtime import LoopContext, Macro
from jinja2.utils import Namespace

from tunesmith.templates.trace import Trace, is_marked, pieces_of
from tunesmith.templates.watched import Many, Number, Watched, Watching, watched, within

_NOT = "undefined none mapping callable number integer float boolean true false string"
_LISTS = {"defined": True, "iterable": True, "sequence": True, **dict.fromkeys(_NOT.split(), False)}
_TEXTS = _LISTS | {"string": True}
_NUMBERS = {"defined": True, "undefined": False, "none": False, "string": False, "mapping": False}
_COMPARING = frozenset(
    {"eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "gt", ">", "greaterthan"}
    | {"le", "<=", "ge", ">=", "in"}
)
_TAKING_APART = frozenset(
    {"length", "count", "first", "last", "list", "reverse", "map", "select", "reject"}
    | {"selectattr", "rejectattr", "batch", "slice", "items", "attr", "_steps", "_concat"}
)
SCOPES = ("_loop_vars", "_block_vars")
"""What compiled templates pass along for functions that ask for the context."""


class _Text:
    """A constant text on the right of `in`: a plain one does not ask a watched one on its left."""

    def __init__(self, trace: Trace, text: str) -> None:
        self._trace, self._text = trace, text

    def __contains__(self, word: Any) -> bool:
        """Whether a word stands in the text."""
        if isinstance(word, Watched):
            return self._trace.ask(within, self._trace.slot(pieces_of(word)), self._text)
        return word in self._text


class _Stream:
    """What a filter gives item by item: looked into, and still given only once."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self._rest = iter(items)

    def __iter__(self) -> Iterator[Any]:
        """Itself, as other iterators."""
        return self

    def __next__(self) -> Any:
        """The next item."""
        return next(self._rest)


def seen(trace: Trace, value: Any) -> Any:
    """A value with marks as a watched text; a stream as one that can be looked into."""
    if isinstance(value, str) and not isinstance(value, Watched) and is_marked(value):
        return watched(trace, value)
    if isinstance(value, (GeneratorType, map, filter, reversed)):
        if id(value) not in trace.streams:  # which holds it, so that no other gets its id
            trace.streams[id(value)] = value, _Stream([seen(trace, item) for item in value])
        return trace.streams[id(value)][1]
    return value


def holds(value: Any) -> bool:
    """Whether there is something watched in a value, or may be."""
    if isinstance(value, (Watched, Watching)):
        return True
    if isinstance(value, str):
        return is_marked(value)
    if isinstance(value, (bytes, range, Undefined, LoopContext, Macro)):
        return False
    if isinstance(value, Mapping):
        return any(holds(item) for pair in value.items() for item in pair)
    if isinstance(value, _Stream):
        return holds(value.items)
    if isinstance(value, Collection):
        return any(holds(item) for item in value)
    return hasattr(value, "__iter__")


def container(trace: Trace, value: Any) -> Any:
    """What stands on the right of `in`."""
    value = seen(trace, value)
    if isinstance(value, str) and not isinstance(value, Watched):
        return _Text(trace, value)
    return value


def filtered(trace: Trace, name: str, *args: Any, **kwargs: Any) -> tuple[bool, Any]:
    """A filter's result, and whether there is one; if not, the filter itself may run.

    Raises:
        Opaque: it would look at the characters of a watched text, or is never twice the same.
    """
    value, *rest = args
    if name == "random":
        raise trace.refused()
    if not holds([*args, *kwargs.values()]) or name in ("_sized", "default", "d"):
        return False, None
    if isinstance(value, Watched):
        if not kwargs:
            return True, _of_text(trace, name, value, rest)
        raise trace.refused()
    if isinstance(value, Many) and not rest:
        trace.count_list()
        if name in ("length", "count"):
            return True, Number(trace, trace.make(len, value._slot))
        if name in ("first", "last"):
            return True, value[0 if name == "first" else -1]
    if isinstance(value, Watching):
        raise trace.refused()
    if name == "join" and isinstance(value, (list, tuple, _Stream)) and not (rest[1:] or kwargs):
        value = list(value)
        text = "".join(str(part) for part in rest).join(str(seen(trace, v)) for v in value)
        return True, watched(trace, text, times=len(value) + 1)
    if name in _TAKING_APART:
        return False, None
    raise trace.refused()


def _of_text(trace: Trace, name: str, text: Watched, rest: list[Any]) -> Any:
    if name == "trim":
        return text.strip(*rest)
    if name == "replace":
        return text.replace(*rest)
    if name == "string" and not rest:
        return text
    if name in ("length", "count") and not rest:
        return Number(trace, trace.make(len, trace.slot(pieces_of(text))))
    raise trace.refused()


def tested(trace: Trace, name: str, *args: Any) -> bool | None:
    """A test's result; `None`: the test itself may run.

    Raises:
        Opaque: it would look at the characters of a watched text.
    """
    if not holds(args):
        return None
    if name in _COMPARING:
        return args[0] in container(trace, args[1]) if name == "in" else None
    known = _TEXTS if isinstance(args[0], Watched) else _LISTS
    known = _NUMBERS if isinstance(args[0], Number) else known
    if name not in known or args[1:]:
        raise trace.refused()
    return known[name] if isinstance(args[0], (Watched, Watching)) else None


def called(trace: Trace, called: Any, *args: Any, **kwargs: Any) -> None:
    """Let a call through that passes watched texts on, or hands them to a watched text.

    Raises:
        Opaque: it would look at the characters of a watched text.
    """
    owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
    given = [*args, *(value for key, value in kwargs.items() if key not in SCOPES)]
    if isinstance(owner, (Watched, Watching)) or not holds(given):
        return
    if isinstance(called, (Macro, LoopContext)) or called in (dict, Namespace):
        return
    if not (isinstance(owner, str) and name == "join"):
        raise trace.refused()


def combined(trace: Trace, operator: str, left: Any, right: Any) -> None:
    """Let an operator through that a watched text writes down.

    Raises:
        Opaque: it does not.
    """
    if operator != "+" and holds((left, right)):
        raise trace.refused()
