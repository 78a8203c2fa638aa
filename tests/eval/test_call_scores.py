"""Calls are compared as values, counted per call and per turn."""

import pytest

from tunesmith.eval.call_scores import Called, call_scores, same_call
from tunesmith.types import Call


def call(name="f", arguments="{}"):
    return Call(name, arguments)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1, "b": [1, {"c": null}]}', '{"b":[1,{"c":null}],"a":1}', True),
        ('{"a": 1}', '{"a": 1.0}', True),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 1}', '{"a": "1"}', False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', False),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ('{"a": "\\u00e9"}', '{"a": "é"}', True),
        ("{broken", "{broken", True),
        ("{broken", "{}", False),
    ],
)
def test_arguments_are_values(one, other, same):
    assert same_call(call("f", one), call("f", other)) is same
    assert not same_call(call("f", one), call("g", one))


def test_calls_and_turns_by_hand():
    a, b, wrong = call("f", '{"x": 1}'), call("g", "{}"), call("f", '{"x": 2}')
    turns = [
        Called((a, b), (a, b)),  # all right
        Called((b, a), (a, b)),  # both met, in another order: no right turn
        Called((wrong,), (a,)),  # the name alone
        Called((a, a), (a,)),  # one too many
        Called((), (a,)),  # missed
        Called((a,), ()),  # not wanted
        Called((), ()),  # no turn of calls
        Called((a,), (a, a)),  # one made for two
    ]
    # calls: 2 + 2 + 1 + 2 + 1 + 1 + 2 = 11; names met 2 + 2 + 1 + 1 + 1 = 7; whole one less
    found = call_scores(turns)
    assert found["call_name"] == pytest.approx(100 * 7 / 11, abs=1e-4)
    assert found["call"] == pytest.approx(100 * 6 / 11, abs=1e-4)
    assert found["call_turn"] == pytest.approx(100 * 1 / 7, abs=1e-4)
    assert found["calls"] == 9


def test_without_calls_there_are_no_figures():
    assert call_scores([Called((), ())]) == {}
