"""Tools of a model's own Jinja template: the tool format and what stands around."""

import pytest

from real_tokenizers import real
from tiny_tokenizer import load_tiny
from tunesmith.templates import OwnJinja
from tunesmith.templates.parse import parse


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "the Jinja leaves their definitions out"),
        ("{{ tools | tojson if tools }}", "no tool format describes them as the Jinja does"),
    ],
)
def test_why_tools_are_not_proven_tells_a_jinja_without_them_from_another_syntax(said, why):
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role + '\\n' }}{% if loop.first %}"
        + said
        + "{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (lost,) = parse(OwnJinja(source, load_tiny())).lost
    assert lost.startswith(f"tools: {why}")
    assert lost.endswith("they are refused")


def test_qwen3s_own_tools_are_its_tool_format():
    tokenizer = real("qwen3")
    format = parse(OwnJinja(tokenizer.chat_template, tokenizer)).format
    assert (format.tool_format, format.trim_tools, format.between) == ("qwen", True, "\n")
