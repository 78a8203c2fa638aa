"""A model's own Jinja template, run as what it is: a program from a stranger.

The immutable sandbox with the settings that transformers uses, and a budget besides: every
turn of a loop, every call and every large text costs steps, so that a template which loops
forever or grows without bound is refused after a moment. A rendering may be watched: then
words are `watched.py`'s, and what would read them unseen goes through `intercept.py`.
Not here: what the text means.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunesmith.errors import TemplateError
from tunesmith.templates import intercept, jinja_numbers
from tunesmith.templates.trace import Trace
from tunesmith.templates.watched import Watched, watched

STEPS = 3_000_000
"""Loop turns and calls that one rendering may take."""
SOURCE_CHARACTERS = 1_000_000
TEXT_CHARACTERS = 1 << 25
_WIDTH = 1000
_CALL = 8
"""Steps that a call costs: calls are slower than turns of a loop."""
_WIDE = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,  # what filters think of their arguments
    RuntimeError,  # too deep a recursion, and `cycler()` of nothing
    MemoryError,
)


class _OverBudget(jinja2.TemplateError):
    """More steps or text than a chat template can need."""


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: marks an answer; renders its body."""

    tags = {"generation"}  # noqa: RUF012 -- as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        """A scope that holds the body, as transformers has it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Spent(threading.local):
    """What the rendering of a thread has cost, and where its words are watched."""

    steps = 0
    trace: Trace | None = None


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with a budget per rendering and thread."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        self.spent = _Spent()
        filters = {**self.filters, "tojson": _tojson}
        self.filters = {name: self._counted(name, f) for name, f in filters.items()}
        self.filters["_steps"] = self._watched("_steps", self._steps)
        self.filters["_concat"] = self._watched("_concat", self._concat)
        self.filters["_sized"] = self._sized
        self.filters["_container"] = self._container
        self.tests = {name: self._tested(name, test) for name, test in self.tests.items()}
        self.globals.pop("lipsum")
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = self._now

    def begin(self, trace: Trace | None) -> None:
        """A new rendering: the whole budget."""
        self.spent.steps, self.spent.trace = 0, trace

    def spend(self, steps: int) -> None:
        """Count steps; refuse the one that is too many."""
        self.spent.steps += steps
        if self.spent.steps > STEPS:
            raise _OverBudget(f"more than {STEPS:,} steps: it loops forever or nearly so")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _rewrite(tree)
        return tree

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call of a template: counted, its widths and its result bounded."""
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        name, owner = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        __self.spend(_CALL)
        if __self.spent.trace is not None:
            args = tuple(intercept.seen(__self.spent.trace, arg) for arg in args)
            kwargs = {key: intercept.seen(__self.spent.trace, v) for key, v in kwargs.items()}
            intercept.called(__self.spent.trace, method, *args, **kwargs)
        if isinstance(owner, str) and not isinstance(owner, Watched):
            if name in ("format", "format_map"):
                _check_format(owner)
            if name in _WIDE:
                _check_widths(args)
            if name in ("replace", "join"):
                _check_growth(owner, name, args)
        return __self._sized(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make much out of little."""
        if self.spent.trace is not None:
            intercept.combined(self.spent.trace, operator, left, right)
        if operator == "*":
            for some, times in ((left, right), (right, left)):
                if isinstance(some, Sized) and isinstance(times, int):
                    _check_length(len(some) * times)
        elif operator == "**" and abs(right) > 64:
            raise _OverBudget("a power beyond any use")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return self._sized(super().call_binop(context, operator, left, right))

    def _sized(self, value: Any) -> Any:
        trace = self.spent.trace
        if trace is not None and isinstance(value, str):
            value = intercept.seen(trace, value)
            if isinstance(value, Watched):
                trace.count_text()
                return value
        if isinstance(value, (str, list, tuple)):
            _check_length(len(value))
            self.spend(len(value) >> 8)
        return value

    def _steps(self, items: Any) -> Any:
        if isinstance(items, Sized):
            self.spend(len(items) + 1)
            return items
        return self._each(items)

    def _each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.spend(1)
            yield item

    def _concat(self, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        _check_length(sum(map(str.__len__, texts)))
        return self._sized("".join(texts))

    def _watched(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that a watched text on its way in is kept from."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            trace = self.spent.trace
            if trace is None:
                return function(*args, **kwargs)
            args = (*args[:first], *(intercept.seen(trace, arg) for arg in args[first:]))
            kwargs = {name: intercept.seen(trace, value) for name, value in kwargs.items()}
            done, result = intercept.filtered(trace, key, *args[first:], **kwargs)
            self.spend(1)
            return self._sized(result) if done else function(*args, **kwargs)

        return filtered

    def _tested(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def tested(*args: Any) -> Any:
            trace = self.spent.trace
            if trace is None:
                return function(*args)
            args = (*args[:first], *(intercept.seen(trace, arg) for arg in args[first:]))
            result = intercept.tested(trace, key, *args[first:])
            return function(*args) if result is None else result

        return tested

    @jinja2.pass_context  # it is asked at each rendering, not once at compilation
    def _container(self, _context: Any, items: Any) -> Any:
        trace = self.spent.trace
        return items if trace is None else intercept.container(trace, items)

    def _now(self, form: str) -> str:
        trace = self.spent.trace
        return datetime.now().strftime(form) if trace is None else trace.now(form)

    def _counted(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        name = getattr(function, "__name__", "")
        options = 2 if hasattr(function, "jinja_pass_arg") else 1

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if name in ("sync_do_join", "do_join"):
                items = args[options - 1]
                items = items if isinstance(items, Sized) else list(self._each(items))
                args = (*args[: options - 1], items, *args[options:])
            lengths = [len(a) for a in args[:3] if isinstance(a, (list, tuple, dict, range))]
            self.spend(1 + sum(lengths))
            _check_widths((*args[options:], *kwargs.values()))
            if name == "do_format":
                _check_format(str(args[0]))
            if name in ("do_replace", "sync_do_join", "do_join"):
                texts = [a for a in (*args, *kwargs.values()) if isinstance(a, str)]
                _check_length(sum(lengths) * max(map(len, texts), default=0))
                if name == "do_replace" and len(texts) > 2:
                    _check_growth(texts[0], "replace", tuple(texts[1:]))
            return self._sized(function(*args, **kwargs))

        return self._watched(key, counted)


def _rewrite(tree: nodes.Template) -> None:
    """Route through the budget what compiled templates do without asking the sandbox."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_steps", [], [], None, None)
    for block in tree.find_all(nodes.AssignBlock):
        block.filter = nodes.Filter(block.filter, "_sized", [], [], None, None)
    for operand in tree.find_all(nodes.Operand):
        if operand.op in ("in", "notin"):
            operand.expr = nodes.Filter(operand.expr, "_container", [], [], None, None)
    _replace_concat(tree)


def _replace_concat(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            _replace_concat(value)
            if isinstance(value, nodes.Concat):
                setattr(node, field, _joined(value))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _replace_concat(item)
                if isinstance(item, nodes.Concat):
                    value[number] = _joined(item)


def _joined(concat: nodes.Concat) -> nodes.Filter:
    return nodes.Filter(nodes.List(concat.nodes), "_concat", [], [], None, None)


def _check_length(length: int) -> None:
    if length > TEXT_CHARACTERS:
        raise _OverBudget(f"a text or list of {length:,} items: at most {TEXT_CHARACTERS:,}")


def _check_widths(values: Iterable[Any]) -> None:
    if any(isinstance(v, int) and not isinstance(v, bool) and abs(v) > _WIDTH for v in values):
        raise _OverBudget(f"a width above {_WIDTH}")


def _check_format(pattern: str) -> None:
    if re.search(r"\d{4}|\*|\{[^}]*\{", pattern):
        raise _OverBudget("a format with a width beyond any use")


def _check_growth(text: str, name: str, args: tuple[Any, ...]) -> None:
    if name == "join":
        items = args[0] if args and isinstance(args[0], (list, tuple, str, range)) else ()
        _check_length(len(items) * len(text))
    elif len(args) > 1 and isinstance(args[0], str) and isinstance(args[1], str):
        _check_length(len(text) + text.count(args[0]) * len(args[1]))


def _tojson(  # noqa: PLR0917 -- templates pass them by position
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return jinja_numbers.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: Any) -> None:
    raise jinja2.TemplateError(str(message))


def compiled(source: str, where: str) -> Callable[..., str]:
    """A function from the template's variables to its text.

    A trace before the variables watches the words in them; the text then is a watched one.

    Args:
        source: the Jinja template.
        where: what to name in errors.

    Raises:
        TemplateError: not Jinja, or too long; and from the function: the template refuses
            its input, reaches for what the sandbox forbids, or exceeds the budget.
        Opaque: from the function: a trace cannot follow the template.
    """
    if len(source) > SOURCE_CHARACTERS:
        need = f"at most {SOURCE_CHARACTERS:,} characters"
        raise TemplateError(where, got=f"{len(source):,} characters of Jinja", need=need)
    environment = _Bounded()
    try:
        template = environment.from_string(source)
    except _FAILURES as error:
        raise TemplateError(where, got=_named(error), need="a Jinja chat template") from None

    def render(trace: Trace | None = None, /, **variables: Any) -> str:
        environment.begin(trace)
        try:
            parts, length = [], 0
            for part in template.generate(**variables):
                length += str.__len__(part)
                _check_length(length)
                parts.append(part)
        except _FAILURES as error:
            need = "a template that renders this conversation"
            raise TemplateError(where, got=_named(error), need=need) from None
        if trace is None:
            return "".join(parts)
        trace.end_rendering(environment.spent.steps)
        return watched(trace, "".join(parts))

    return render


def _named(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {text}"
