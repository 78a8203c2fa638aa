"""A bad alpaca row is refused with its field; a good one keeps every word."""

import pytest

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.alpaca import alpaca
from tunesmith.data.ledger import RowError
from tunesmith.types import Message

EVERY = Columns(history="history", system="system", tools="tools")


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"instruction": "I"}, "missing column", "output"),
        ({"input": "", "output": "O"}, "missing column", "instruction"),
        ({"instruction": "I", "output": None}, "null instead of text", "output"),
        ({"instruction": "I", "output": 7}, "wrong type", "output"),
        ({"instruction": 7, "output": "O"}, "wrong type", "instruction"),
        ({"instruction": True, "output": "O"}, "wrong type", "instruction"),
        ({"instruction": "I", "input": ["x"], "output": "O"}, "wrong type", "input"),
        ({"instruction": "I", "output": ""}, "empty answer", "output"),
        ({"instruction": "I", "output": " \n"}, "empty answer", "output"),
        ({"instruction": "I", "output": "O", "system": {"a": 1}}, "wrong type", "system"),
        ({"instruction": "I", "output": "O", "history": "x"}, "wrong type", "history"),
        ({"instruction": "I", "output": "O", "history": ["xy"]}, "wrong type", "history[0]"),
        ({"instruction": "I", "output": "O", "history": [["q"]]}, "wrong type", "history[0]"),
        (
            {"instruction": "I", "output": "O", "history": [["q", "a"], ["q", None]]},
            "null instead of text",
            "history[1][1]",
        ),
        (
            {"instruction": "I", "output": "O", "history": [["q", ""]]},
            "empty answer",
            "history[0][1]",
        ),
        (
            {"instruction": "I", "output": "O", "tools": "[{"},
            "tools that cannot be read",
            "tools",
        ),
        ({"instruction": "I", "output": "O", "tools": 5}, "wrong type", "tools"),
    ],
)
def test_a_bad_alpaca_row_is_refused_with_its_field(row, reason, field):
    with pytest.raises(RowError) as error:
        alpaca(row, EVERY, Tags())
    assert (error.value.reason, error.value.where) == (reason, field)
    assert error.value.got is not None
    assert error.value.need


def test_a_misspelt_column_is_named():
    with pytest.raises(RowError) as error:
        alpaca({"instruction": "I", "ouput": "O"}, Columns(), Tags())
    assert "'ouput'" in error.value.hint


def test_an_empty_question_is_still_a_question():
    row = {"instruction": "", "input": "", "output": "O"}
    assert alpaca(row, Columns(), Tags()).messages[0] == Message("user", "")


def test_history_comes_first_and_in_order():
    row = {"instruction": "I", "output": "O", "history": [["q1", "a1"], ["q2", "a2"]]}
    words = [m.content for m in alpaca(row, EVERY, Tags()).messages]
    assert words == ["q1", "a1", "q2", "a2", "I", "O"]
