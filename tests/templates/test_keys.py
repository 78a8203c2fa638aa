"""What a key of a template file takes, said in words."""

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.templates.format import Format, Roles, Thinking, Turn, read
from tunesmith.templates.keys import PIECES, follow, takes

WRONG = {
    "replace_eos: [1]": "true or false",
    "default_system: [1]": "text or null",
    "stop_words: a": "a list of texts",
    "system_style: x": "one of own_turn, inside_first_user",
    "roles: x": "keys and values: system, user, assistant, observation, function",
    "roles: {user: {open: {special: end}}}": PIECES,
    "name: a b": "text (letters, digits, _ . -)",
    "tools: 1": "keys and values: open, lead, stop, after, then",
    "thinking: {open: a}": "text",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_is_told_what_would_do(line):
    with pytest.raises(TemplateError) as caught:
        read(f"like: chatml\n{line}\n", "f.yaml", registry.format)
    assert caught.value.need == WRONG[line]


def test_every_key_says_what_it_takes():
    for part in (Format, Roles, Turn, Thinking):
        for field in part.model_fields.values():
            assert takes(field.annotation)


def test_a_place_leads_to_the_part_that_holds_its_last_key():
    assert follow(Format, ["roles", "user", "open"])[0] is Turn
    assert follow(Format, ["thinking", "none"]) == (Thinking, None)
