"""A model's own Jinja template, run as what it is: a program from a stranger.

The immutable sandbox with the settings that transformers uses, and a budget besides
(`budget.py`): whatever a template does costs steps by the length of what it works on, so that
one which loops forever or grows without bound is refused after a moment. Filters and methods
that no chat template needs are not there. A rendering may be watched: then
words are `watched.py`'s, and what would read them unseen goes through `intercept.py`.
Not here: what the text means.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime
from types import BuiltinMethodType
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunesmith.errors import TemplateError
from tunesmith.templates import intercept, jinja_numbers
from tunesmith.templates.budget import (
    LISTED,
    Budget,
    OverBudget,
    check_combined,
    check_format,
    check_length,
    check_replaced,
    check_widths,
)
from tunesmith.templates.trace import Trace
from tunesmith.templates.watched import watched

SOURCE_CHARACTERS = 1_000_000
_CALL = 8
"""Steps that a call costs: calls are slower than turns of a loop."""
_ABSENT = ("pprint", "striptags", "urlencode", "urlize", "wordwrap", "xmlattr")
_ABSENT += ("filesizeformat",)
_AT_ONCE = frozenset({"length", "count", "first", "last", "default", "d", "attr"})
"""Filters that look at one item at most."""
_ITEM_BY_ITEM = frozenset(
    {"list", "items", "map", "select", "reject", "selectattr", "rejectattr", "batch", "slice"}
)
_TAKING_APART = frozenset({"list", "title", "wordcount"})
_COMPARING = frozenset({"sort", "unique", "min", "max", "dictsort", "groupby"})
_TESTING = frozenset(
    {"eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "gt", ">", "greaterthan"}
    | {"le", "<=", "ge", ">=", "in", "lower", "upper"}
)
"""Tests that go through values."""
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


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with a budget per rendering and thread."""

    intercepted_binops = frozenset(  # pyright: ignore[reportAssignmentType]
        {"+", "-", "*", "/", "//", "**", "%"}
    )

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._shown,
            extensions=[_Generation, loopcontrols],
        )
        self.budget = Budget()
        filters = {**self.filters, "tojson": _tojson}
        for name in _ABSENT:
            del filters[name]
        self.filters = {name: self._counted(name, f) for name, f in filters.items()}
        self.filters["_steps"] = self._watched("_steps", self._steps)
        self.filters["_concat"] = self._watched("_concat", self._concat)
        self.filters["_sized"] = self._sized
        self.filters["_compared"] = self._compared
        self.filters["_container"] = self._container
        self.tests = {name: self._tested(name, test) for name, test in self.tests.items()}
        self.globals.pop("lipsum")
        self.globals["raise_exception"] = self._raise
        self.globals["strftime_now"] = self._now

    def begin(self, trace: Trace | None) -> None:
        """A new rendering: the whole budget."""
        self.budget.steps, self.budget.trace = 0, trace

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _rewrite(tree)
        return tree

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        """Python's internals are an error when they are reached for, printed or not.

        Raises:
            SecurityError: always; the library's own value would print as nothing.
        """
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is out of bounds")

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call of a template: one that it may make, counted, its result bounded."""
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        budget = __self.budget
        budget.spend(_CALL + len(args))
        if budget.trace is not None:
            args = tuple(intercept.seen(budget.trace, arg) for arg in args)
            kwargs = {key: intercept.seen(budget.trace, v) for key, v in kwargs.items()}
            intercept.called(budget.trace, method, *args, **kwargs)
        owner = getattr(method, "__self__", None)
        given = {key: value for key, value in kwargs.items() if key not in intercept.SCOPES}
        if isinstance(method, BuiltinMethodType) or isinstance(owner, (str, type)):
            budget.method(owner, method.__name__, args, given)
        elif isinstance(owner, LoopContext):  # `changed` compares
            budget.through([*args, *given.values()])
        elif isinstance(method, type):
            for value in (*args, *given.values()):
                budget.once(value)
        return __self._sized(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make much out of little."""
        if self.budget.trace is not None:
            intercept.combined(self.budget.trace, operator, left, right)
        check_combined(operator, left, right)
        if operator == "%" and isinstance(left, str):
            check_format(left, self.budget.through(right))
        return self._sized(super().call_binop(context, operator, left, right))

    def _sized(self, value: Any) -> Any:
        if self.budget.trace is not None and isinstance(value, str):
            value = intercept.seen(self.budget.trace, value)
        return self.budget.made(value)

    def _shown(self, value: Any) -> Any:
        """What `{{ }}` is about to write: a list in it may be much longer than it is large."""
        if not isinstance(value, str):
            self.budget.through(value)
        return value

    def _compared(self, value: Any) -> Any:
        self.budget.through(value)
        return value

    def _steps(self, items: Any) -> Any:
        if isinstance(items, Sized):
            self.budget.spend(len(items) + 1)
            return items
        return self._each(items)

    def _each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.budget.spend(1)
            yield item

    def _concat(self, parts: list[Any]) -> str:
        texts = [str(self._shown(part)) for part in parts]
        check_length(sum(map(str.__len__, texts)))
        return self._sized("".join(texts))

    def _watched(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that a watched text on its way in is kept from."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            trace = self.budget.trace
            if trace is None:
                return function(*args, **kwargs)
            args = (*args[:first], *(intercept.seen(trace, arg) for arg in args[first:]))
            kwargs = {name: intercept.seen(trace, value) for name, value in kwargs.items()}
            self._pay(key, [*args[first:], *kwargs.values()])
            done, result = intercept.filtered(trace, key, *args[first:], **kwargs)
            self.budget.spend(1)
            return self._sized(result) if done else function(*args, **kwargs)

        return filtered

    def _tested(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def tested(*args: Any) -> Any:
            trace = self.budget.trace
            if key in _TESTING:
                for arg in args[first:]:
                    self.budget.through(arg)
            if trace is None:
                return function(*args)
            args = (*args[:first], *(intercept.seen(trace, arg) for arg in args[first:]))
            result = intercept.tested(trace, key, *args[first:])
            return function(*args) if result is None else result

        return tested

    @jinja2.pass_context  # it is asked at each rendering, not once at compilation
    def _container(self, _context: Any, items: Any) -> Any:
        trace = self.budget.trace
        self.budget.through(items)
        return items if trace is None else intercept.container(trace, items)

    def _raise(self, message: Any) -> None:
        raise jinja2.TemplateError(str(self._shown(message)))

    def _now(self, form: str) -> str:
        trace = self.budget.trace
        check_widths(map(int, re.findall(r"\d+", form)))
        self.budget.spend(len(form))
        return datetime.now().strftime(form) if trace is None else trace.now(form)

    def _counted(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            value: Any = args[first] if len(args) > first else None
            if key not in _AT_ONCE and hasattr(value, "__next__"):
                value = self._each(value)  # a stream pays as it goes
                if key not in _ITEM_BY_ITEM:
                    value = list(value)
                args = (*args[:first], value, *args[first + 1 :])
            options = (*args[first + 1 :], *kwargs.values())
            check_widths(options)
            self._check_growth(key, value, options, self._pay(key, [value, *options]))
            return self._sized(function(*args, **kwargs))

        return self._watched(key, counted)

    def _pay(self, key: str, values: list[Any]) -> int:
        """Pay for what a filter goes through; the characters of its text."""
        self.budget.spend(1)
        if key in _AT_ONCE or key.startswith("_"):
            return 0
        if key in _ITEM_BY_ITEM:
            self.budget.once(values[0])
            return 0
        before = self.budget.steps
        characters = sum(map(self.budget.through, values))
        if key in _COMPARING:
            self.budget.once(values[0])
            self.budget.spend((self.budget.steps - before) << 4)
        return characters

    @staticmethod
    def _check_growth(key: str, value: Any, options: tuple[Any, ...], characters: int) -> None:
        if isinstance(value, str):
            if key in _TAKING_APART and len(value) > LISTED:
                raise OverBudget("a long text in small parts")
            if key == "format":
                check_format(value, characters)
            elif key == "replace":
                check_replaced(value, options)
            elif key == "indent":
                wide = max((len(o) if isinstance(o, str) else int(o) for o in options), default=4)
                check_length(len(value) + (value.count("\n") + 1) * wide)
        elif key == "join":
            between = max((len(o) for o in options if isinstance(o, str)), default=0)
            check_length(characters + len(value) * between if isinstance(value, Sized) else 0)
        elif key == "sum" and any(isinstance(o, (list, tuple)) for o in options):
            raise OverBudget("sum of lists: no chat template needs it")


def _rewrite(tree: nodes.Template) -> None:
    """Route through the budget what compiled templates do without asking the sandbox."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_steps", [], [], None, None)
    for block in tree.find_all(nodes.AssignBlock):
        block.filter = nodes.Filter(block.filter, "_sized", [], [], None, None)
    for operand in tree.find_all(nodes.Operand):
        if operand.op in ("in", "notin"):
            operand.expr = nodes.Filter(operand.expr, "_container", [], [], None, None)
        elif not isinstance(operand.expr, nodes.Const):
            operand.expr = nodes.Filter(operand.expr, "_compared", [], [], None, None)
    _replace(tree)


def _replace(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            _replace(value)
            setattr(node, field, _counting(value))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _replace(item)
                    value[number] = _counting(item)


def _counting(node: nodes.Node) -> nodes.Node:
    """What makes a value without asking the sandbox, as a filter that does."""
    if isinstance(node, nodes.Concat):
        return nodes.Filter(nodes.List(node.nodes), "_concat", [], [], None, None)
    cut = isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
    if cut or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return nodes.Filter(node, "_sized", [], [], None, None)
    return node


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
                check_length(length)
                parts.append(part)
        except _FAILURES as error:
            need = "a template that renders this conversation"
            raise TemplateError(where, got=_named(error), need=need) from None
        if trace is None:
            return "".join(parts)
        trace.end_rendering(environment.budget.steps)
        return watched(trace, "".join(parts))

    return render


def _named(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {text}"
