"""Layers by word, by list, and as a command line says them."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "want"),
    [("even", "even"), ([0, 2], (0, 2)), ("0,2", (0, 2)), ("3, 1", (3, 1)), ("4", (4,)), (3, (3,))],
)
def test_layers_are_a_word_or_numbers(given, want):
    assert load(None, {"moe_layers": given}).upcycle.moe_layers == want


@pytest.mark.parametrize("given", ["some", "0,even", [], "", [-1], [1.5], [True], True, {"a": 1}])
def test_all_else_is_one_error_with_the_rule(given):
    with pytest.raises(ConfigError, match="one of all, even, odd, first_half, second_half, or"):
        load(None, {"moe_layers": given})
