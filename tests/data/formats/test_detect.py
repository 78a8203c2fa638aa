"""What rows look like is told from their names."""

import pytest

from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS, SHAREGPT_COLUMNS, Columns, Tags
from tunesmith.data.formats.detect import detect, looks_like
from tunesmith.errors import DataError


def of_alpaca(row):
    return looks_like(row, Columns(), Tags(), formatting="alpaca")


def turns(role, content, *names):
    return [{role: name, content: "x"} for name in names]


def test_messages_with_results_of_tools_are_openai():
    found = detect("f", [{"messages": turns("role", "content", "user", "assistant", "tool")}])
    assert found.entry["formatting"] == "openai"
    assert found.entry["tags"]["observation_tag"] == "tool"
    calls = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [1]}]
    assert detect("f", [{"messages": calls}]).entry["formatting"] == "openai"


def test_other_messages_are_sharegpt_with_their_own_names():
    found = detect("f", [{"conversations": turns("from", "value", "human", "gpt"), "tools": "[]"}])
    assert found.entry["formatting"] == "sharegpt"
    assert found.entry["columns"] == {"messages": "conversations", "tools": "tools"}
    assert found.entry["tags"]["user_tag"] == "human"


def test_questions_and_answers_are_alpaca():
    found = detect("f", [{"question": "a", "answer": "b"}])
    assert found.entry == {
        "formatting": "alpaca", "columns": {"prompt": "question", "response": "answer"}
    }  # fmt: skip


@pytest.mark.parametrize("row", [{}, {"a": 1}, {"messages": [{"who": "x"}]}])
def test_rows_of_no_layout_are_refused(row):
    with pytest.raises(DataError):
        detect("f", [row])
    assert of_alpaca(row) == ""


def test_the_lines_to_add_are_those_of_the_entry():
    line = of_alpaca({"messages": turns("role", "content", "user", "assistant")})
    assert '"formatting": "sharegpt", "columns": {"messages": "messages"}' in line


@pytest.mark.parametrize("bad", [[], None, "", "[", "[]", [None], [{}], "[{'from': 'human'}]"])
def test_one_bad_row_among_chats_leaves_them_chats(bad):
    good = {"conversations": turns("from", "value", "human", "gpt")}
    for rows in ([good, {"conversations": bad}], [{"conversations": bad}, good]):
        assert detect("f", rows).entry == detect("f", [good]).entry


def test_lists_that_python_has_printed_are_told_as_such():
    with pytest.raises(DataError) as error:
        detect("f", [{"conversations": "[{'from': 'human', 'value': 'a'}]", "tools": ""}])
    assert "df.to_json" in error.value.hint


PAIR = {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}


def test_pairs_are_told_by_their_two_answers():
    row = {"conversations": turns("from", "value", "human"), **PAIR}
    found = detect("f", [row])
    assert found.entry["ranking"] is True
    assert found.entry["columns"] == {
        "messages": "conversations", "chosen": "chosen", "rejected": "rejected"
    }  # fmt: skip
    assert found.entry["tags"]["assistant_tag"] == "gpt"
    assert found.said.endswith("with chosen: chosen, rejected: rejected")
    assert '"ranking": true' in of_alpaca(row)
    found = detect("f", [{"prompt": "q", "response": "x", "chosen": "a", "rejected": "b"}])
    assert (found.entry["formatting"], found.entry["ranking"]) == ("alpaca", True)
    assert "response" not in found.entry["columns"]


def test_pairs_of_messages_with_a_prompt_of_messages_are_read():
    ask = turns("role", "content", "user")
    answers = {key: turns("role", "content", "assistant") for key in ("chosen", "rejected")}
    found = detect("f", [{"prompt": ask, **answers}])
    assert found.entry["columns"]["messages"] == "prompt"
    assert found.entry["tags"]["assistant_tag"] == "assistant"


def test_a_few_bad_rows_do_not_hide_what_the_others_are():
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    rows = [row, row, {**row, "chosen": None}, {"prompt": "q"}, row]
    assert detect("f", rows).entry["ranking"] is True


@pytest.mark.parametrize(
    ("value", "named"), [(True, True), (None, True), (1, False), ("true", False)]
)
def test_a_label_is_told_by_its_values(value, named):
    rows = [{"prompt": "q", "completion": "a", "label": label} for label in (value, False)]
    assert ("kto_tag" in detect("f", rows).entry["columns"]) is named


def test_media_are_told_by_their_placeholders():
    row = {"prompt": "<image>?", "response": "a", "image": "1.jpg", "videos": ["x.mp4"]}
    assert detect("f", [row]).entry["columns"] == {
        "prompt": "prompt", "response": "response", "images": "image"
    }  # fmt: skip
    assert "images" not in detect("f", [{**row, "prompt": "?"}]).entry["columns"]


OTHERS = {
    "alpaca": ({"question": "q", "answer": "a"}, '"columns": {"prompt": "question"'),
    "text": ({"text": "words"}, '"formatting": "text" in its entry'),
    "one message": ({"from": "human", "value": "a"}, "a row has to hold a whole conversation"),
    "a table": (
        {"chat": "", "messages": '[{"role": "user", "content": "a"}]'},
        '"messages": "messages"',
    ),
}


@pytest.mark.parametrize(("row", "told"), OTHERS.values(), ids=OTHERS)
def test_a_row_of_another_layout_than_that_of_its_entry_is_told_as_such(row, told):
    found = looks_like(row, SHAREGPT_COLUMNS, Tags(), formatting="sharegpt")
    assert told in found


def test_a_row_that_is_what_its_entry_says_has_no_other_layout():
    row = {"messages": turns("role", "content", "user", "assistant")}
    sharegpt = SHAREGPT_COLUMNS._replace(messages="messages")
    assert looks_like(row, OPENAI_COLUMNS, OPENAI_TAGS, formatting="openai") == ""
    assert '"role_tag": "role"' in looks_like(row, sharegpt, Tags(), formatting="sharegpt")
    assert "sharegpt" in looks_like(row, OPENAI_COLUMNS, OPENAI_TAGS, formatting="alpaca")


def test_no_layout_is_told_that_would_not_read_all_messages_of_the_row():
    row = {"messages": turns("role", "content", "user", "narrator")}
    assert of_alpaca(row) == ""
    row = {"messages": [*turns("role", "content", "user"), *turns("from", "value", "gpt")]}
    assert of_alpaca(row) == ""


def test_rows_that_are_single_messages_are_told_what_a_row_is():
    with pytest.raises(DataError) as error:
        detect("f", [{"role": "user", "content": "a"}])
    assert "whole conversation" in error.value.hint
