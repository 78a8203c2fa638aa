"""refusal: tools, calls and results under a template without words for them are errors."""

import datetime
from dataclasses import replace

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from template_cases import bound
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import ollama, tools
from tunesmith.templates.tools import refusal
from tunesmith.types import Call

DAY = datetime.date(2026, 3, 7)


def without_tools():
    chatml = bound("chatml")
    return replace(chatml, format=chatml.format.model_copy(update={"tool_format": None}))


def test_tools_and_calls_are_refused_and_none_of_them_are_nothing():
    assert tools.get(None) is refusal
    assert "refusal" not in tools.names()
    with pytest.raises(TemplateError, match="tools"):
        refusal.describe([{"name": "f"}], today=DAY)
    with pytest.raises(TemplateError, match="tools"):
        refusal.write([Call("f", "{}")])
    assert refusal.describe([], today=DAY) == refusal.write([]) == []
    assert refusal.read("Action: f") == ("Action: f", ())


def test_a_tool_format_that_the_run_names_takes_its_place():
    named = without_tools().bind(load_tiny(), tool_format="qwen")
    assert named.tool_syntax is tools.get("qwen")


@pytest.mark.parametrize(
    ("messages", "known"),
    [
        ([{"role": "user", "content": "q"}], [{"type": "function", "function": {"name": "f"}}]),
        (
            [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]},
            ],
            None,
        ),
        ([{"role": "tool", "content": "1"}], None),
    ],
)
def test_the_written_jinja_refuses_them_too(messages, known):
    source = without_tools().jinja()
    with pytest.raises(Exception, match="cannot express tools"):
        render_jinja_template([messages], tools=known, chat_template=source)


def test_a_modelfile_claims_no_tools_and_says_so():
    template = without_tools()
    assert ".Tools" not in ollama.source(template)
    assert ollama.notes(template) == ("without tools: the template cannot express them",)
