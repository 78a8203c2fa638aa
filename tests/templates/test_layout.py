"""The turns of a file as text: what is counted stays in pieces, what is missing is refused."""

from dataclasses import replace

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.templates.layout import layout


def laid(name, *, results=True):
    return layout(
        registry.get(name).format, lambda pieces: "".join(map(str, pieces)), results=results
    )


def test_an_opening_that_counts_rounds_stays_in_pieces():
    assert laid("chatglm2").user.rounds
    assert not laid("chatml").user.rounds


def test_results_stand_like_questions_where_the_file_does_not_say():
    assert registry.get("vicuna").format.roles.observation is None
    found = laid("vicuna")
    assert found.need_result("vicuna", 2) == found.user


def test_what_stands_before_calls_parts_them_from_the_words():
    function = registry.get("mistral").format.roles.function
    assert function is not None
    found = laid("mistral").function
    assert (found.lead, found.between) == ("", "".join(map(str, function.lead)))


def test_a_turn_that_is_missing_is_refused():
    with pytest.raises(TemplateError, match="observation"):
        laid("chatml", results=False).need_result("chatml", 2)
    with pytest.raises(TemplateError, match="a system text"):
        replace(laid("chatml"), system=None).need_system("chatml")
