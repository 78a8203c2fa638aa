"""Running text is one turn that nobody answers."""

import pytest

from tunesmith.data.entry import Columns, Tags
from tunesmith.data.formats.text import text
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Message


def test_a_text_is_one_turn():
    made = text({"text": " long\n"}, Columns(prompt="text"), Tags())
    assert made == Conversation((Message("user", " long\n"),))


@pytest.mark.parametrize(
    ("row", "reason"),
    [({}, "missing column"), ({"text": 3}, "wrong type"), ({"text": " "}, "empty text")],
)
def test_a_bad_text_is_refused(row, reason):
    with pytest.raises(RowError) as error:
        text(row, Columns(prompt="text"), Tags())
    assert (error.value.reason, error.value.where) == (reason, "text")
