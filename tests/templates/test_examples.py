"""The conversations that templates are shown and compared on."""

import json
from dataclasses import replace

import pytest

from template_cases import bound
from tunesmith.templates.examples import PLAIN, PROBES, SHOWN, TOOLS, shown, with_thoughts
from tunesmith.templates.order import PROMPTING


@pytest.mark.parametrize("name", ["qwen3", "llama3", "mistral", "glm4", "alpaca"])
def test_every_template_can_lay_every_one_out(name):
    template = bound(name)
    probes = {**SHOWN, **PROBES, **with_thoughts("<think>", "</think>")}
    for conversation in probes.values():
        asking = conversation.messages[-1].role in PROMPTING
        text = "".join(s.text for s in template.render(conversation, add_generation_prompt=asking))
        assert conversation.messages[0].content in text


def test_a_template_is_shown_without_what_it_cannot_express():
    format = bound("chatml").format
    no_tools = format.model_copy(update={"tool_format": None})
    roles = format.roles.model_copy(update={"system": None})
    no_system = format.model_copy(update={"roles": roles})
    assert list(shown(format)) == list(SHOWN)
    assert list(shown(no_tools)) == ["two questions", "with a system text"]
    assert list(shown(no_system)) == ["two questions"]
    assert list(shown(bound("qwen3").format)) == [*SHOWN, "with thoughts"]
    for one in (format, no_tools, no_system):
        for conversation in shown(one).values():
            assert replace(bound("chatml"), format=one).render(conversation)


def test_tools_are_json_and_the_plain_ones_have_none():
    assert json.loads(TOOLS)[0]["function"]["name"] == "weather"
    assert all(c.tools is None for c in PLAIN.values())
    assert any(c.tools for c in PROBES.values())
