"""What rows look like is told from their names."""

import pytest

from tunesmith.data.formats.detect import detect, looks_like
from tunesmith.errors import DataError


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
    assert looks_like(row) == ""


def test_the_lines_to_add_are_those_of_the_entry():
    line = looks_like({"messages": turns("role", "content", "user", "assistant")})
    assert '"formatting": "sharegpt", "columns": {"messages": "messages"}' in line
