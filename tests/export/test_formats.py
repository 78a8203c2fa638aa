"""The table of formats is the one of the run file."""

import pytest

from tunesmith.config.model import EXPORT_FORMATS
from tunesmith.errors import ConfigError
from tunesmith.export import formats


def test_the_formats_are_those_of_the_key():
    assert set(formats.FORMATS) == set(EXPORT_FORMATS)
    assert set(formats.ORDER) == set(EXPORT_FORMATS)


def test_what_needs_exact_weights_is_written_before_what_rounds_them():
    order = formats.ORDER.index
    dense = ("merged", "bnb-4bit", "bnb-8bit")
    exact = set(formats.FORMATS) - set(dense)
    assert max(map(order, exact)) < min(map(order, dense))


def test_each_is_taken_once_and_others_are_listed():
    assert [form.name for form in formats.named(["gguf-f16", "merged", "gguf-f16"])] == [
        "gguf-f16",
        "merged",
    ]
    with pytest.raises(ConfigError, match="awq") as caught:
        formats.named(["merged", "awq"])
    assert "ollama" in caught.value.need
    with pytest.raises(ConfigError):
        formats.named([])
