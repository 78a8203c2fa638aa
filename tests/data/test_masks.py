"""Which answers are learned, by what messages and the run say."""

import pytest

from template_cases import turns
from tunesmith.data.masks import masked, unmasked
from tunesmith.types import Conversation


def conversation(*trained):
    said = turns(*"qa" * len(trained))
    answers = iter(trained)
    return Conversation(
        tuple(m._replace(trained=next(answers)) if m.role == "assistant" else m for m in said)
    )


@pytest.mark.parametrize(
    ("said", "mask_history", "learned"),
    [
        ((None, None), False, None),
        ((None, None), True, (False, True)),
        ((True, None), True, None),
        ((False, None), False, (False, True)),
        ((None, False), False, (True, False)),
        ((True, True), False, None),
    ],
)
def test_a_message_decides_before_the_run(said, mask_history, learned):
    found = masked(conversation(*said), mask_history=mask_history)
    expected = None if learned is None else conversation(*learned)
    assert found == expected


def test_unmasked_says_nothing():
    assert unmasked(conversation(True, False)) == conversation(None, None)
