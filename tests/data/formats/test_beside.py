"""Keys beside the words of a message, one by one; whole rows are in `test_messages.py`."""

import pytest

from tunesmith.data.entry import OPENAI_TAGS, Tags
from tunesmith.data.formats import beside
from tunesmith.data.ledger import RowError
from tunesmith.types import Message


@pytest.mark.parametrize(
    ("turn", "context"),
    [({}, False), ({"weight": 0}, True), ({"weight": 0.0}, True), ({"loss_weight": 1.0}, False),
     ({"train": False}, True), ({"loss": True, "weight": 0}, True), ({"weight": None}, False)],
)  # fmt: skip
def test_a_message_says_whether_it_is_learned(turn, context):
    assert beside.is_context(turn, "m", Tags()) is context


def test_a_key_that_holds_the_words_is_no_weight():
    assert not beside.is_context({"loss": "text"}, "m", Tags(content_tag="loss"))
    with pytest.raises(RowError):
        beside.is_context({"weight": "0"}, "m", OPENAI_TAGS)


def test_numbers_of_arguments_stay_as_they_were_written_in_text():
    results = beside.Results(lambda _: None)
    call = {"name": "f", "arguments": '{"x": 1.50, "y": 1e5}'}
    (found,) = beside.calls({"tool_calls": [call]}, "m", results)
    assert found.arguments == '{"x": 1.50, "y": 1e5}'


def test_without_ids_results_keep_their_order():
    results = beside.Results(lambda _: None)
    results.expect(["1", "2"])
    results.add({}, "m")
    results.add({}, "m")
    assert results.join(Message("observation", "b"), "a").results == ("b", "a")


def test_a_picture_in_a_list_of_parts_is_refused_with_where_it_belongs():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(RowError) as error:
        beside.content(parts, "m")
    assert (error.value.reason, error.value.where) == ("a part that is not read", "m[1]")
    assert "<image>" in error.value.hint
    with pytest.raises(RowError) as error:
        beside.content([{"type": "refusal"}], "m")
    assert not error.value.hint
