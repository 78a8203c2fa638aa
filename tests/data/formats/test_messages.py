"""Messages become turns in order, or an error with the field."""

import json

import pytest

from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS, SHAREGPT_COLUMNS, Tags
from tunesmith.data.formats.messages import openai, sharegpt, unread_keys
from tunesmith.data.ledger import RowError
from tunesmith.types import Call, Message

CALL = '{"name": "f", "arguments": {}}'


def say(*turns):
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({}, "missing column", "conversations"),
        ({"conversations": None}, "no messages", "conversations"),
        ({"conversations": "hi"}, "wrong type", "conversations"),
        ({"conversations": ["hi"]}, "wrong type", "conversations[0]"),
        ({"conversations": [{"from": "human"}]}, "missing column", "conversations[0].value"),
        ({"conversations": [{"value": "a"}]}, "missing column", "conversations[0].from"),
        (say(("human", 3)), "wrong type", "conversations[0].value"),
        (say((1, "a")), "wrong type", "conversations[0].from"),
        (say(("human", None)), "null instead of text", "conversations[0].value"),
        (say(("bot", "a")), "unknown role", "conversations[0].from"),
        (say(("gpt", "a"), ("human", "b")), "role out of order", "conversations[0].from"),
        (say(("human", "a"), ("human", "b")), "role out of order", "conversations[1].from"),
        (
            say(("human", "a"), ("gpt", "b"), ("gpt", "c")),
            "role out of order",
            "conversations[2].from",
        ),
        (
            say(("human", "a"), ("gpt", "b"), ("system", "c")),
            "role out of order",
            "conversations[2].from",
        ),
        (say(("human", "a")), "no answer at the end", "conversations[0].from"),
        (say(("system", "s")), "no messages", "conversations"),
        (
            say(("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c")),
            "no answer at the end",
            "conversations[3].from",
        ),
        (say(("human", "a"), ("gpt", "")), "empty answer", "conversations[1].value"),
        (say(("human", "a"), ("function_call", " ")), "empty answer", "conversations[1].value"),
        (
            say(("human", "a"), ("observation", "o"), ("gpt", "b")),
            "role out of order",
            "conversations[1].from",
        ),
        (
            say(
                ("human", "a"), ("function_call", CALL), ("observation", "o"), ("observation", "p")
            ),
            "no answer at the end",
            "conversations[3].from",
        ),
    ],
)
def test_a_bad_sharegpt_row_is_refused_with_its_field(row, reason, field):
    with pytest.raises(RowError) as error:
        sharegpt(row, SHAREGPT_COLUMNS, Tags())
    assert (error.value.reason, error.value.where) == (reason, field)
    assert error.value.got is not None
    assert error.value.need


def marked(**keys):
    turns = say(("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d"))
    turns["conversations"][1].update(keys)
    return turns


@pytest.mark.parametrize("keys", [{"weight": 0}, {"train": False}, {"loss": False}])
def test_a_message_may_say_that_it_is_context(keys):
    trained = [m.trained for m in sharegpt(marked(**keys), SHAREGPT_COLUMNS, Tags()).messages]
    assert trained == [None, False, None, None]


@pytest.mark.parametrize("keys", [{"weight": 1}, {"train": True}, {"loss": None}])
def test_a_message_that_says_it_is_learned_is_as_every_other(keys):
    assert sharegpt(marked(**keys), SHAREGPT_COLUMNS, Tags()) == sharegpt(
        marked(), SHAREGPT_COLUMNS, Tags()
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"weight": 0.5}, {"train": "no"}, {"loss": 1.25}, {"loss": 0}, {"reasoning_content": 3},
        {"tool_calls": [{"name": "f"}]}, {"tool_calls": 3}, {"function_call": {"name": 1}},
    ],
)  # fmt: skip
def test_what_a_message_says_beside_its_content_is_never_lost_silently(keys):
    with pytest.raises(RowError) as error:
        sharegpt(marked(**keys), SHAREGPT_COLUMNS, Tags())
    assert error.value.where.startswith(f"conversations[1].{next(iter(keys))}")


def test_an_unmapped_role_names_the_line_to_add():
    tags = Tags(system_tag=None, function_tag=None)
    with pytest.raises(RowError) as error:
        sharegpt(say(("system", "s"), ("human", "a"), ("gpt", "b")), SHAREGPT_COLUMNS, tags)
    assert error.value.hint == '"system_tag": "system" under tags'


def test_tools_given_as_json_become_text_without_invented_nulls():
    tools = [{"name": "f", "parameters": {"ü": 1}}, {"name": "g", "other": [1.5, None]}]
    row = {**say(("human", "a"), ("gpt", "b")), "tools": tools}
    text = sharegpt(row, SHAREGPT_COLUMNS._replace(tools="tools"), Tags()).tools
    assert text is not None
    assert json.loads(text) == tools
    assert "ü" in text


def ask(*messages, **row):
    return openai({"messages": list(messages), **row}, OPENAI_COLUMNS, OPENAI_TAGS)


USER = {"role": "user", "content": "a"}
END = {"role": "assistant", "content": "z"}


def calling(*calls, content=None, **keys):
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **keys}


def call(name, arguments, **keys):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **keys}


def result(text, **keys):
    return {"role": "tool", "content": text, **keys}


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
def test_arguments_may_be_an_object_or_text(arguments):
    made = ask(USER, calling(call("f", arguments, id="1")), result("r"), END)
    assert made.messages[1] == Message("function", "", None, (Call("f", '{"x": 1}'),))


@pytest.mark.parametrize("arguments", ["", None, {}, "{}"])
def test_a_call_may_have_no_arguments(arguments):
    made = ask(USER, calling(call("f", arguments)), result("r"), END)
    assert made.messages[1].calls == (Call("f", "{}"),)


@pytest.mark.parametrize("arguments", ["{", "[1]", [1], 3, "null"])
def test_arguments_that_are_no_object_are_refused(arguments):
    with pytest.raises(RowError) as error:
        ask(USER, calling(call("f", arguments)), result("r"), END)
    assert error.value.reason == "a call that cannot be read"
    assert error.value.where.startswith("messages[1].tool_calls")


def test_words_beside_calls_are_kept():
    made = ask(USER, calling(call("f", {}), content="Let me see."), result("r"), END)
    assert made.messages[1] == Message("function", "Let me see.", None, (Call("f", "{}"),))


def test_the_older_function_call_is_one_call():
    spoken = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    assert ask(USER, spoken, result("r"), END).messages[1].calls == (Call("f", "{}"),)


def test_results_of_parallel_calls_make_one_turn():
    calls = calling(call("f", {}), call("g", {}))
    made = ask(USER, calls, result("r1"), result("r2"), END)
    assert [m.role for m in made.messages] == ["user", "function", "observation", "assistant"]
    assert made.messages[2].results == ("r1", "r2")
    assert made.messages[2].content == ""


def test_results_are_sorted_by_the_ids_of_their_calls_and_that_is_told():
    told = []
    calls = calling(*(call(name, {}, id=name) for name in "fgh"))
    results = [result(f"of {name}", tool_call_id=name) for name in "hfg"]
    row = {"messages": [USER, calls, *results, END]}
    made = openai(row, OPENAI_COLUMNS, OPENAI_TAGS, told.append)
    assert made.messages[2].results == ("of f", "of g", "of h")
    assert len(told) == 1
    assert "results are sorted" in told[0]


def test_a_result_of_a_call_that_is_not_there_is_refused():
    with pytest.raises(RowError) as error:
        ask(USER, calling(call("f", {}, id="1")), result("r", tool_call_id="2"), END)
    assert error.value.where == "messages[2].tool_call_id"
    assert error.value.reason == "a result without its call"


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_beside_an_answer_is_its_thought(key):
    made = ask(USER, {**END, key: "hm"}).messages[1]
    assert made == Message("assistant", "z", None, (), "hm")
    both = ask(USER, calling(call("f", {}), **{key: "hm"}), result("r"), END)
    assert both.messages[1].thought == "hm"


def test_a_thought_that_stands_in_the_words_too_is_refused():
    with pytest.raises(RowError) as error:
        ask(USER, {"role": "assistant", "content": "<think>x</think>z", "reasoning_content": "x"})
    assert error.value.reason == "two thoughts"
    with pytest.raises(RowError):
        ask(USER, {**END, "reasoning_content": "x", "thinking": "y"})


@pytest.mark.parametrize("empty", [None, "", " "])
def test_an_empty_thought_is_none(empty):
    assert ask(USER, {**END, "reasoning_content": empty}).messages[1].thought == ""


def test_content_may_be_parts_of_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    thinks = [{"type": "reasoning", "value": "hm"}, {"type": "text", "value": "z"}]
    made = ask({"role": "user", "content": parts}, {"role": "assistant", "content": thinks})
    assert made.messages == (Message("user", "ab"), Message("assistant", "z", None, (), "hm"))


def test_a_part_that_is_no_text_is_refused():
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(RowError) as error:
        ask({"role": "user", "content": [image]}, END)
    assert error.value.where == "messages[0].content[0]"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_comes_first_and_nothing_is_added_to_it(role):
    assert ask({"role": role, "content": "S"}, USER, END).system == "S"
    assert ask(USER, END).system is None
    with pytest.raises(RowError, match="role"):
        ask(USER, END, {"role": role, "content": "S"}, END)


def test_an_answer_may_not_be_null_without_calls():
    with pytest.raises(RowError) as error:
        ask(USER, {"role": "assistant", "content": None})
    assert error.value.reason == "null instead of text"


def test_keys_that_nothing_reads_are_told_by_name():
    row = {"messages": [{**USER, "name": "Bo", "weight": 1}, {**END, "audio": None}]}
    assert unread_keys(row, OPENAI_COLUMNS, OPENAI_TAGS) == {"name"}


def test_a_message_of_a_tool_names_the_line_to_add():
    tags = OPENAI_TAGS._replace(observation_tag=None)
    with pytest.raises(RowError) as error:
        openai({"messages": [USER, result("r")]}, OPENAI_COLUMNS, tags)
    assert error.value.hint == '"observation_tag": "tool" under tags'
