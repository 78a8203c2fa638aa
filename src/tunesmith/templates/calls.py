"""Tools and calls as JSON without loss: key order and every number stay as they were written.

A number is a plain int or float where Python prints it back letter for letter (3, -1, 1.0),
else a `Number` that keeps its text (1e5, 1.50, 12345678901234567890.0). Here: the JSON of the
data and of answers, and where calls stand in a text. Not here: how a family of models writes
calls (`tools/`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from tunesmith.errors import TemplateError
from tunesmith.types import Call

MAX_DEPTH = 64  # levels of nesting that a value may have
NAME = re.compile(r"[\w.:/@$-]*\w")
"""Names that stand bare in a syntax; JSON syntaxes take any name."""
_SURELY_SHORT = 4000  # digits; from 4301 on Python refuses to convert integers
_MARKS = (("<tool_call>", "</tool_call>"), ("<|tool_call_start|>", "<|tool_call_end|>"))
_START = re.compile(r'\{\s*["}]|\[\s*[{\]]|<tool_call>|<\|tool_call_start\|>')
_CUT = re.compile(r'("\s*:|\}\s*,)[\s\[]*[\[{]\Z|\[\s*\{\Z')  # JSON goes on inside of other JSON
_OPENED = re.compile(r"(<tool_call>|<\|tool_call_start\|>)\s*\Z")
_SPACE = re.compile(r"[ \t\n\r]*")
_CALL_KEYS = ("name", "arguments", "id", "type", "index")

Parse = Callable[[str, int], tuple[list[Call], int] | None]


@dataclass(frozen=True)
class Number:
    """A JSON number that Python would write otherwise than it stands in the data."""

    text: str

    def __repr__(self) -> str:  # in errors
        return self.text


def loads(text: str) -> Any:
    """The value of a whole JSON text.

    Raises:
        ValueError: no JSON, a key twice, NaN, a lone surrogate, or deeper than `MAX_DEPTH`.
    """
    value, end = decode(text)
    if space(text, end) != len(text):
        raise ValueError("more than one value")
    return value


def decode(text: str, at: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at `at` (after white space), and the offset after it.

    Raises:
        ValueError: as in `loads`.
    """
    at = space(text, at)
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError("nested too deep") from None
    brackets = text.count("{", at, end) + text.count("[", at, end)
    if brackets > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise ValueError("nested too deep")
    spelled = text.find("\\u", at, end) >= 0
    if spelled and any("\ud800" <= sign <= "\udfff" for sign in dumps(value)):
        raise ValueError("a lone surrogate is no text")
    return value, end


def space(text: str, at: int) -> int:
    """Offset of the first character from `at` on that is not JSON white space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text with Python's usual spacing; other scripts and numbers as they were written."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except TypeError:  # it holds a Number
        return _written(value, indent, 1)


def arguments_of(call: Call) -> dict[str, Any]:
    """The arguments of a call as an object.

    Raises:
        TemplateError: they are no JSON text of an object.
    """
    try:
        value = loads(call.arguments)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        where = f"call of {call.name}: arguments"
        raise TemplateError(where, got=call.arguments, need="JSON of an object")
    return value


def bare_name(call: Call, tool_format: str, pattern: re.Pattern[str] = NAME) -> str:
    """The name of a call that is to stand bare in a syntax.

    Raises:
        TemplateError: a name that would not be read back.
    """
    if not pattern.fullmatch(call.name):
        need = "letters, digits and _ - . : / @ $, as names stand bare in this syntax"
        if pattern is not NAME:
            need = "one line: names stand bare in this syntax"
        raise TemplateError(f"tool format {tool_format}: name of a call", got=call.name, need=need)
    return call.name


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition itself, without OpenAI's wrapping."""
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def wrapped(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition in OpenAI's wrapping, as written where it has it."""
    return tool if function_of(tool) is not tool else {"type": "function", "function": tool}


def as_call(value: object, key: str = "arguments") -> Call | None:
    """A call that an answer holds as JSON, or `None` where the value is none."""
    if not isinstance(value, dict):
        return None
    name, arguments = value.get("name"), value.get(key)
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return Call(name, dumps(arguments))


def find_calls(
    text: str, mark: str, parse: Parse, *, lead: str = "", to_end: bool = False
) -> tuple[str, tuple[Call, ...]]:
    """Calls behind each `mark` that `parse` understands, and the text beside them.

    Args:
        text: an answer.
        mark: what a call, or a group of calls, begins with.
        parse: from the text and the offset behind a mark to the calls and the offset after
            them; `None` where it is no call: then it is text.
        lead: what the syntax puts before the mark; it is not part of the text beside.
        to_end: only calls that nothing but white space follows are calls.
    """
    beside: list[str] = []
    calls: list[Call] = []
    done, at = 0, text.find(mark)
    while at >= 0:
        found = parse(text, at + len(mark))
        if found is None or not found[0]:
            at = text.find(mark, at + len(mark))
            continue
        before = text[done:at]
        if to_end and calls and before.strip():
            beside, calls, before = [], [], text[:at]
        if not calls or before.strip():
            beside.append(before.removesuffix(lead))
        calls += found[0]
        done = found[1]
        at = text.find(mark, done)
    rest = text[done:]
    if not calls or (to_end and rest.strip()):
        return text, ()
    return "".join(beside) + (rest if rest.strip() else ""), tuple(calls)


def closing_json(text: str) -> tuple[str, list[Any]] | None:
    """JSON values that a text ends with, and what stands before the first; `None`: none.

    A value that is only the end of a broken one is none.
    """
    for start in _START.finditer(text):
        values = _values(text, start.start())
        if values is not None:
            before = text[: start.start()]
            cut = _is_cut(text, start.start()) or _OPENED.search(before)
            return None if cut else (before, values)
    return None


def closing_calls(text: str, key: str = "arguments") -> tuple[str, tuple[Call, ...]]:
    """Calls as JSON (one, a list of them, one after the other) that end an answer.

    Args:
        text: an answer.
        key: what the arguments are called.
    """
    for start in _START.finditer(text):
        values = _values(text, start.start()) or []
        calls = [as_call(v, key) for v in _flat(values)]
        if calls and None not in calls and [] not in values:
            before = text[: start.start()]
            cut = _is_cut(text, start.start())
            return (text, ()) if cut else (before, tuple(c for c in calls if c is not None))
    return text, ()


def read_calls(content: str, where: str) -> tuple[str, tuple[Call, ...]]:
    """The content of a `function` turn: the text beside the calls, and the calls.

    The calls end it: JSON of one call, of a list of calls, or several of these one after the
    other, perhaps in a family's marks; OpenAI's wrapping and `arguments` as JSON text too.

    Raises:
        TemplateError: no JSON at the end, no name, arguments that are no object, or a key
            that would be lost.
    """
    found = closing_json(content)
    if found is None:
        need = 'a tool call at its end, {"name": ..., "arguments": {...}}, or a list of calls'
        raise TemplateError(where, got=content, need=need + _because(content))
    text, values = found
    flat = _flat(values)
    if text.strip() and not flat:
        raise TemplateError(where, got=content, need="at least one call after the text")
    places = [where] if len(flat) == 1 else [f"{where}[{i}]" for i in range(len(flat))]
    calls = tuple(_checked(v, place) for v, place in zip(flat, places, strict=True))
    return text, calls


def read_tools(text: str, where: str) -> list[dict[str, Any]]:
    """Tool definitions, bare or in OpenAI's wrapping, as written; "[]" and "{}" are none.

    Raises:
        TemplateError: no JSON list, a definition without a name, or parts of another kind
            than JSON Schema has.
    """
    try:
        tools = loads(text) if text.strip() else []
    except ValueError as error:
        need = f"a JSON list of tool definitions ({error})"
        raise TemplateError(where, got=text, need=need) from None
    if tools == {}:
        return []
    if not isinstance(tools, list):
        raise TemplateError(where, got=text, need="a JSON list of tool definitions")
    for number, tool in enumerate(tools):
        _check_tool(tool, f"{where}[{number}]")
    return tools


def _values(text: str, at: int) -> list[Any] | None:
    """JSON values, wrapped or not, from `at` to the end; `None` where there is anything else."""
    values = []
    while at < len(text):
        marks = next((m for m in _MARKS if text.startswith(m[0], at)), ("", ""))
        try:
            value, at = decode(text, at + len(marks[0]))
        except ValueError:
            return None
        at = space(text, at)
        if not isinstance(value, dict | list) or not text.startswith(marks[1], at):
            return None
        values.append(value)
        at = space(text, at + len(marks[1]))
    return values


def _is_cut(text: str, at: int) -> bool:
    """Whether the JSON from `at` is the end of more, which is broken: a list, a call."""
    inside = _CUT.search(text, 0, at + 1)
    return inside is not None and any(sign in text[: inside.start() + 1] for sign in "[{")


def _flat(values: list[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _checked(value: object, where: str) -> Call:
    need = 'an object with "name" and "arguments"'
    if not isinstance(value, dict):
        raise TemplateError(where, got=dumps(value), need=need)
    inner = value.get("function")
    if isinstance(inner, dict):
        _refuse_others(value, ("function", *_CALL_KEYS[2:]), where)
        value, where = inner, f"{where}.function"
    for key in ("name", "arguments"):
        if key not in value:
            hint = 'call it "arguments"' if key == "arguments" and "parameters" in value else ""
            raise TemplateError(where, got=dumps(value), need=need, hint=hint)
    _refuse_others(value, _CALL_KEYS, where)
    if not isinstance(value["name"], str) or not value["name"]:
        raise TemplateError(f"{where}.name", got=dumps(value["name"]), need="the tool's name")
    call = as_call(value)
    if call is None:
        written = value["arguments"]
        need = "an object, or a string that holds JSON of an object"
        need += _because(written) if isinstance(written, str) else ""
        raise TemplateError(f"{where}.arguments", got=dumps(written), need=need)
    return call


def _because(text: str) -> str:
    """Why JSON in a text is refused though its syntax is sound, in brackets."""
    for start in _START.finditer(text):
        try:
            decode(text, start.start())
        except ValueError as error:
            if not isinstance(error, json.JSONDecodeError):
                return f" ({error})"
    return ""


def _refuse_others(value: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in value:
        if key not in known:
            need = f"only {', '.join(known)}: a template has no place for it, it would be lost"
            raise TemplateError(where, got=key, need=need)


def _check_tool(tool: object, where: str) -> None:
    if not isinstance(tool, dict):
        raise TemplateError(where, got=dumps(tool), need="an object that defines a tool")
    function = function_of(tool)
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise TemplateError(where, got=dumps(tool), need='a tool definition with a "name"')
    parameters = function.get("parameters")
    kinds: list[tuple[str, object, type]] = [("parameters", parameters, dict)]
    if isinstance(parameters, dict):
        kinds += [(f"parameters.{k}", parameters.get(k), dict) for k in ("properties",)]
        kinds += [(f"parameters.{k}", parameters.get(k), list) for k in ("required",)]
    for name, value, kind in kinds:
        if value is not None and not isinstance(value, kind):
            need = "an object" if kind is dict else "a list"
            raise TemplateError(f"{where}.{name}", got=dumps(value), need=need)


def integer(digits: str) -> int | Number:
    """A whole number of a JSON text."""
    return int(digits) if len(digits) < _SURELY_SHORT and digits != "-0" else Number(digits)


def fraction(digits: str) -> float | Number:
    """A number of a JSON text with a point or an exponent; one that no double holds too."""
    value = float(digits)
    return value if repr(value) == digits else Number(digits)


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(k for k in keys if keys.count(k) > 1)!r}")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=integer, parse_float=fraction, parse_constant=_no_constant
)


def depth(value: Any) -> int:
    """Levels of nesting of a value."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        here, level = pending.pop()
        if isinstance(here, dict | list):
            deepest = max(deepest, level)
            pending += [(v, level + 1) for v in (here.values() if isinstance(here, dict) else here)]
    return deepest


def _written(value: Any, indent: int | None, level: int) -> str:
    """JSON text of a value that holds numbers as text, spaced as `json.dumps` does."""
    if isinstance(value, Number):
        return value.text
    if not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    items = list(_items(value, indent, level))
    left, right = "{}" if isinstance(value, dict) else "[]"
    if indent is None:
        return left + ", ".join(items) + right
    lead = "\n" + " " * (indent * level)
    return left + lead + ("," + lead).join(items) + "\n" + " " * (indent * (level - 1)) + right


def _items(value: Any, indent: int | None, level: int) -> Iterator[str]:
    if isinstance(value, list):
        yield from (_written(item, indent, level + 1) for item in value)
        return
    for key, item in value.items():
        yield f"{json.dumps(key, ensure_ascii=False)}: {_written(item, indent, level + 1)}"
