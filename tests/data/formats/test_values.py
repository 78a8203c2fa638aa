"""Values that should be text are text, or are refused with what is wrong."""

import json

import pytest

from tunesmith.data.formats.values import answer, items, missing, of_python, optional, tools, words
from tunesmith.data.ledger import RowError


@pytest.mark.parametrize("value", [0, 1.5, True, [], {}])
def test_only_text_is_text(value):
    with pytest.raises(RowError) as error:
        words(value, "f")
    assert (error.value.reason, error.value.got) == ("wrong type", value)


def test_null_is_absent_where_a_column_is_optional():
    assert optional({"a": None}, "a") is None
    assert optional({}, "a") is None
    assert items({"a": None}, "a") == []
    with pytest.raises(RowError, match="f"):
        words(None, "f")
    with pytest.raises(RowError):
        answer(" ", "f")


def test_a_list_may_stand_as_json_text():
    assert items({"a": '[["q", "ü"]]'}, "a") == [["q", "ü"]]
    assert items({"a": ""}, "a") == []
    for text in ("x", "{}", '"x"', "[", '[{"a": 1, "a": 2}]'):
        with pytest.raises(RowError) as error:
            items({"a": text}, "a")
        assert error.value.where == "a"


def test_a_missing_column_gets_the_nearest_name():
    with pytest.raises(RowError) as error:
        missing({"ouput": 1}, "output")
    assert "'ouput'" in error.value.hint


def test_tools_stay_text_or_become_text():
    given = [{"name": "f", "parameters": None}]
    assert tools({"t": '[{"name":"f"}]'}, "t") == '[{"name":"f"}]'
    assert json.loads(tools({"t": given}, "t")) == given
    with pytest.raises(RowError, match="t"):
        tools({"t": "[3]"}, "t")


@pytest.mark.parametrize(
    "text", ["[{'a': 1}]", "{'a': None}", "[[None]]", " [True, 1]", "array([1])"]
)
def test_what_python_prints_is_known_and_json_is_not_taken_for_it(text):
    assert "not JSON" in of_python(text)
    assert (
        of_python(json.dumps([{"a": "'"}, None, True])) == of_python("'a'") == of_python("") == ""
    )


def test_null_in_a_cell_is_null():
    assert items({"a": "null"}, "a") == items({"a": " \n"}, "a") == []
    assert tools({"a": " null"}, "a") is None
