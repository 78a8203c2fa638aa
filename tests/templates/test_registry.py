"""The shipped templates."""

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates import registry

NEEDED = "chatml qwen llama3 deepseek3 deepseekr1 mistral gemma alpaca vicuna default empty smollm2"


def test_the_promised_templates_are_there():
    assert set(NEEDED.split()) <= set(registry.names())


@pytest.mark.parametrize("name", registry.names())
def test_every_shipped_template_is_valid_and_named_as_it_is_found(name):
    template = registry.get(name)
    assert template.name == name
    assert template.format.source or template.format.models


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(TemplateError) as caught:
        registry.get("deepseek4")
    assert caught.value.where == "template: deepseek4"
    assert "deepseek3" in caught.value.hint
    assert "template list" in caught.value.need
    assert len(str(caught.value)) < 300, "not 140 names"
