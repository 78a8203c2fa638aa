"""JSON of tools and calls: what is kept, what is refused, where calls stand in a text."""

import json

import pytest

from tool_cases import random_calls
from tunesmith.errors import TemplateError
from tunesmith.templates.calls import (
    MAX_DEPTH,
    Number,
    closing_calls,
    decode,
    dumps,
    loads,
    read_calls,
    read_tools,
)
from tunesmith.types import Call

CALL = '{"name": "f", "arguments": {"a": 1}}'
F = Call("f", '{"a": 1}')


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "1.0", "1e5", "1E+2", "-0", "1.50", "12345678901234567890", "1" * 5000, "1e999"],
)
def test_numbers_stay_as_they_were_written(number):
    text = f'{{"a": [{number}, {{"b": {number}}}]}}'
    assert dumps(loads(text)) == text


def test_numbers_are_plain_where_python_prints_them_back():
    assert loads("[3, -1, 1.5]") == [3, -1, 1.5]
    assert loads("[1e5, 3]") == [Number("1e5"), 3]


def test_key_order_and_other_scripts_stay():
    text = '{"z": "天气 é", "a": "\\"", "m": null}'
    assert dumps(loads(text)) == text
    assert dumps(loads('{"a":"\\u5929"}')) == '{"a": "天"}'


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_numbers_as_text_are_laid_out_as_python_lays_out_others(indent):
    value = {"a": [], "b": {}, "c": [1, {"d": [2]}], "é": "\n"}
    with_text = json.loads(json.dumps(value), parse_int=Number)
    expected = json.dumps(value, ensure_ascii=False, indent=indent)
    assert dumps(with_text, indent) == dumps(value, indent) == expected


@pytest.mark.parametrize(
    "text",
    [
        *('{"a": 1, "a": 2}', "NaN", "[Infinity]", '"\\ud800"', "[1] 2", "", "{", '"\n"'),
        *("[" * 99999, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)),
    ],
)
def test_what_is_no_strict_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 -- of many kinds
        loads(text)


def test_a_value_is_found_at_an_offset():
    assert decode('x  {"a": 1} y', 1) == ({"a": 1}, 11)
    assert loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize(
    "content",
    [
        CALL,
        f"[{CALL}]",
        f" \n{CALL}\n",
        '{"name": "f", "arguments": "{\\"a\\": 1}"}',
        '{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\":1}"}}',
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"<|tool_call_start|>[{CALL}]<|tool_call_end|>",
    ],
)
def test_every_way_to_write_a_call_gives_the_same_call(content):
    text, calls = read_calls(content, "row")
    assert (text.strip(), calls) == ("", (F,))


@pytest.mark.parametrize(
    "text", ["Let me check.", "<think>\nuse {x} or [1]\n</think>\n\n", "a <tool_call> b\n"]
)
@pytest.mark.parametrize("wrap", ["%s", "<tool_call>%s</tool_call>\n", "[%s]"])
def test_text_before_the_calls_is_kept_to_the_letter(text, wrap):
    assert read_calls(text + wrap % CALL, "row") == (text, (F,))


def test_calls_one_after_the_other_are_all_read():
    both = (F, Call("g", "{}"))
    other = '{"name": "g", "arguments": {}}'
    for content in (f"[{CALL}, {other}]", f"{CALL}\n{other}"):
        assert read_calls(content, "row") == ("", both)
    wrapped = f"hm<tool_call>{CALL}</tool_call>\n<tool_call>{other}</tool_call>"
    assert read_calls(wrapped, "row") == ("hm", both)
    assert read_calls("[]", "row") == ("", ())


@pytest.mark.parametrize(
    ("content", "where", "need"),
    [
        ("plain words", "row", "tool call"),
        ("12", "row", "tool call"),
        ("", "row", "tool call"),
        (CALL[:-1], "row", "tool call"),
        (f"{CALL} and words", "row", "tool call"),
        (f"hm {CALL[:-1]}", "row", "tool call"),
        (f'hm {{"name": "g", "arguments": {CALL}', "row", "tool call"),
        (f"hm <tool_call>{CALL}", "row", "tool call"),
        ("words []", "row", "at least one call"),
        ('{"arguments": {}}', "row", '"name"'),
        ('{"name": "f"}', "row", '"arguments"'),
        ('{"name": 1, "arguments": {}}', "row.name", "name"),
        ('{"name": "", "arguments": {}}', "row.name", "name"),
        (f"[{CALL}, 3]", "row[1]", "an object"),
        (f'[{CALL}, {{"name": "g", "arguments": [1]}}]', "row[1].arguments", "an object"),
        ('{"name": "f", "arguments": "words"}', "row.arguments", "an object"),
        ('{"name": "f", "arguments": "[1]"}', "row.arguments", "an object"),
        ('{"type": "function", "function": {"name": "f"}}', "row.function", '"arguments"'),
        ('{"name": "f", "arguments": {}, "why": 1}', "row", "lost"),
        ('{"name": "f", "arguments": {"a": 1, "a": 2}}', "row", "tool call"),
    ],
)
def test_what_is_no_call_is_refused_with_its_place(content, where, need):
    with pytest.raises(TemplateError) as caught:
        read_calls(content, "row")
    assert caught.value.where == where
    assert need in caught.value.need


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"a": ' + "[" * 80 + "]" * 80 + "}", "nested too deep"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": NaN}', "NaN is no JSON"),
    ],
)
def test_what_is_json_and_yet_refused_is_refused_with_the_reason(arguments, reason):
    for written in (arguments, json.dumps(arguments)):
        with pytest.raises(TemplateError) as caught:
            read_calls(f'{{"name": "f", "arguments": {written}}}', "row")
        assert reason in caught.value.need


def test_parameters_in_place_of_arguments_are_answered_with_the_right_name():
    with pytest.raises(TemplateError) as caught:
        read_calls('{"name": "f", "parameters": {}}', "row")
    assert "arguments" in caught.value.hint


def test_random_calls_survive_the_data():
    for calls in random_calls(7, 200):
        content = dumps([{"name": c.name, "arguments": c.arguments} for c in calls])
        assert read_calls(content, "row") == ("", calls)


def test_the_end_of_a_broken_call_in_an_answer_is_no_call():
    for text in (f'{{"name": "g", "arguments": {CALL}', f"[{CALL}, {CALL}"):
        assert closing_calls(text) == (text, ())
    for before in ("so: ", "[]", '{"a": 1} ', "<tool_call>", "a {", 'as "g": ', "then }, "):
        assert closing_calls(before + CALL) == (before, (F,))
        assert closing_calls(f"{before}[{CALL}]") == (before, (F,))
    assert closing_calls(f"a [[{CALL}]") == ("a [", (F,))
    nested = f'{{"name": "g", "arguments": {{"a": [[{CALL}]'
    assert closing_calls(nested) == (nested, ())


@pytest.mark.parametrize("text", ["", " \n", "[]", "{}"])
def test_no_tools_are_no_tools(text):
    assert read_tools(text, "row") == []


def test_tools_are_kept_as_written():
    bare, inner = '{"name": "f", "parameters": {"z": 1e5, "a": 1.50}}', '{"name": "g"}'
    text = f'[{bare}, {{"type": "function", "function": {inner}}}]'
    assert dumps(read_tools(text, "row")) == text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("oops", "row"),
        ("null", "row"),
        ('{"name": "f"}', "row"),
        ('["f"]', "row[0]"),
        ('[{"name": "f"}, {"description": "g"}]', "row[1]"),
        ('[{"function": {"description": "g"}}]', "row[0]"),
        ('[{"name": "f", "parameters": []}]', "row[0].parameters"),
        ('[{"name": "f", "parameters": {"properties": [1]}}]', "row[0].parameters.properties"),
        ('[{"name": "f", "parameters": {"required": "a"}}]', "row[0].parameters.required"),
        ('[{"name": "f", "name": "g"}]', "row"),
    ],
)
def test_what_defines_no_tools_is_refused_with_its_place(text, where):
    with pytest.raises(TemplateError) as caught:
        read_tools(text, "row")
    assert caught.value.where == where
    assert caught.value.need
