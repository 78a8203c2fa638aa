"""Texts that write down what is done with them, or refuse it.

A `Watched` is a `str`: a program takes it for a word of a conversation. Every method of a
text that it has is either a step of its `Trace` or `Opaque`; so are those of the lists and
numbers that come out. Not here: what works on a text's characters without asking it, which
Jinja's filters and tests do (`intercept.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.templates.trace import Trace, is_marked, pieces_of, text_of


class Watched(str):
    """A text with marks; every use of it is written down or refused."""

    __slots__ = ("_trace",)
    _trace: Trace

    def __new__(cls, text: str, trace: Trace) -> Watched:
        """The marked text, bound to where its uses are written."""
        self = super().__new__(cls, text)
        self._trace = trace
        return self


def watched(trace: Trace, text: str, times: int = 1) -> Watched:
    """A text with marks as one whose uses are written down.

    Args:
        trace: where to.
        text: constants and whole marks.
        times: how often it may be copied on the way to a larger one.

    Raises:
        Opaque: longer than a chat template needs; part of a mark stands in it.
    """
    trace.weigh(text, times)
    return Watched(str.__str__(text), trace)


def words(trace: Trace) -> list[Watched]:
    """The watched texts that stand for the words of a trace that is still empty."""
    return [watched(trace, text_of((slot,))) for slot in range(len(trace.values))]


def within(word: str, text: str) -> bool:
    """Whether a word stands in a constant text."""
    return word in text


def _has(items: Sequence[Any], number: int) -> bool:
    return -len(items) <= number < len(items)


def _slice(text: str, start: int | None, stop: int | None, step: int | None) -> str:
    return text[start:stop:step]


class Watching:
    """What a watched text has that is no text; without a use that is not written down."""

    def __init__(self, trace: Trace, slot: int, sure: int = 0) -> None:
        self._trace, self._slot, self._sure = trace, slot, sure

    def __getattr__(self, name: str) -> Any:
        """No template asks for these in earnest."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise self._trace.refused()

    def __bool__(self) -> bool:
        """Whether it is neither empty nor 0."""
        return self._trace.ask(bool, self._slot)


class Many(Watching):
    """The list that splitting a watched text gives."""

    def __getitem__(self, number: Any) -> Watched:
        """The text in one place of the list."""
        if type(number) is not int:
            raise self._trace.refused()
        sure = -self._sure <= number < self._sure
        if not sure and not self._trace.ask(_has, self._slot, number):
            raise IndexError("list index out of range")
        slot = self._trace.make(operator.getitem, self._slot, number)
        return watched(self._trace, text_of((slot,)))


class Number(Watching):
    """A length, or a place in a watched text."""


def _opaque(self: Any, *_args: Any, **_kwargs: Any) -> Any:
    raise self._trace.refused()


def _constant(trace: Trace, value: Any) -> Any:
    """An argument that is the same whatever the words are."""
    if isinstance(value, str):
        if is_marked(value):
            raise trace.refused()
        return str.__str__(value)
    if value is not None and type(value) not in (int, bool, float):
        raise trace.refused()
    return value


def _use(self: Watched, method: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A method of a watched text as a step."""
    trace = self._trace
    return (method, trace.slot(pieces_of(self)), *(_constant(trace, arg) for arg in args))


def _text(method: Callable[..., str]) -> Callable[..., Watched]:
    def made(self: Watched, *args: Any) -> Watched:
        if method is str.replace and not (args[0] and len(args[1]) <= len(args[0])):
            raise self._trace.refused()
        return watched(self._trace, text_of((self._trace.make(*_use(self, method, args)),)))

    return made


def _list(method: Callable[..., Any]) -> Callable[..., Many]:
    def made(self: Watched, *args: Any) -> Many:
        self._trace.count_list()
        sure = 3 if "partition" in method.__name__ else bool(args and args[0] is not None)
        return Many(self._trace, self._trace.make(*_use(self, method, args)), sure)

    return made


def _number(method: Callable[..., int]) -> Callable[..., Number]:
    return lambda self, *args: Number(self._trace, self._trace.make(*_use(self, method, args)))


def _fact(method: Callable[..., bool]) -> Callable[..., bool]:
    return lambda self: self._trace.ask(*_use(self, method, ()))


def _edge(*, at_end: bool) -> Callable[..., bool]:
    def edge(self: Watched, part: Any, *bounds: Any) -> bool:
        parts = part if isinstance(part, tuple) else (part,)
        if bounds or not all(isinstance(p, str) for p in parts):
            raise self._trace.refused()
        return any(self._trace.begins(self, p, at_end=at_end) for p in parts)

    return edge


def _cut(*, at_end: bool) -> Callable[..., Watched]:
    def cut(self: Watched, part: Any) -> Watched:
        if not isinstance(part, str):
            raise self._trace.refused()
        return watched(self._trace, self._trace.without(self, part, at_end=at_end))

    return cut


def _compared(method: Callable[..., bool]) -> Callable[..., Any]:
    def compare(self: Any, other: Any) -> Any:
        trace = self._trace
        if isinstance(self, Watched) and isinstance(other, str):
            if method in (operator.eq, operator.ne):
                return trace.equal(self, other) == (method is operator.eq)
            return trace.relate(method, pieces_of(self), pieces_of(other))
        if isinstance(self, Watched) and not isinstance(other, Watching):
            return NotImplemented
        if isinstance(self, Number) and type(other) in (int, bool, float):
            return trace.ask(method, self._slot, other)
        raise trace.refused()

    return compare


def _item(self: Watched, key: Any) -> Watched:
    trace = self._trace
    if isinstance(key, slice):
        use = _use(self, _slice, (key.start, key.stop, key.step))
    elif isinstance(key, str):
        raise TypeError("string indices must be integers")
    else:
        use = _use(self, operator.getitem, (key,))
        if not trace.ask(_has, *use[1:]):
            raise IndexError("string index out of range")
    return watched(trace, text_of((trace.make(*use),)))


def _added(self: Watched, other: Any) -> Any:
    if isinstance(other, Watching):
        raise self._trace.refused()
    return (
        watched(self._trace, "".join((self, other))) if isinstance(other, str) else NotImplemented
    )


def _added_to(self: Watched, other: Any) -> Any:
    return (
        watched(self._trace, "".join((other, self))) if isinstance(other, str) else NotImplemented
    )


def _contains(self: Watched, part: Any) -> bool:
    if not isinstance(part, str):
        raise self._trace.refused()
    whole = pieces_of(self)
    if not is_marked(part) and any(str.__str__(part) in p for p in whole if isinstance(p, str)):
        return True
    return self._trace.relate(operator.contains, whole, pieces_of(part))


def _watch_methods() -> None:
    """Every method of a text is one that is written down, or opaque."""
    kept = {"__new__", "__init__", "__class__", "__getattribute__", "__setattr__", "__delattr__"}
    kept |= {"__doc__", "__dir__", "__init_subclass__", "__subclasshook__", "__sizeof__"}
    methods: dict[str, Callable[..., Any]] = dict.fromkeys(set(dir(str)) - kept, _opaque)
    for name in ("strip", "lstrip", "rstrip", "replace"):
        methods[name] = _text(getattr(str, name))
    for name in ("split", "rsplit", "splitlines", "partition", "rpartition"):
        methods[name] = _list(getattr(str, name))
    for name in ("find", "rfind", "count"):
        methods[name] = _number(getattr(str, name))
    for name in dir(str):
        if name.startswith("is"):
            methods[name] = _fact(getattr(str, name))
    methods["startswith"], methods["endswith"] = _edge(at_end=False), _edge(at_end=True)
    methods["removeprefix"], methods["removesuffix"] = _cut(at_end=False), _cut(at_end=True)
    methods |= {"__getitem__": _item, "__contains__": _contains, "__str__": lambda self: self}
    methods |= {"__add__": _added, "__radd__": _added_to, "__rmod__": _opaque}
    methods["__bool__"] = lambda self: self._trace.truth(self)
    compared = {f"__{m.__name__}__": _compared(m) for m in _COMPARISONS}
    for name, method in (methods | compared).items():
        setattr(Watched, name, method)
    spoken = ("str", "repr", "format", "hash", "index", "int", "float", "len", "iter", "contains")
    for name in (*(f"__{n}__" for n in spoken), "__add__", "__radd__", "__mul__", "__rmul__"):
        setattr(Watching, name, _opaque)
    for name, method in compared.items():
        setattr(Watching, name, method)


_COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
_watch_methods()
