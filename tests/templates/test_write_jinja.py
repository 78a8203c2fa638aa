"""The Jinja that is written out renders, in transformers, what the template renders."""

import datetime
import json
from dataclasses import replace
from itertools import product

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from template_cases import bound, turns
from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.templates.format import Format, Roles, Turn
from tunesmith.templates.render import Template
from tunesmith.templates.spelled import spelled
from tunesmith.types import Call, Conversation, Message

WORDS = [
    ("hi", "there"),
    ("{{ bos_token }} {% if x %} {# no #}", 'it\'s "quoted" \\ back \\n {{content}}'),
    ("  spaced \n\n", "\n\ttab\r\n"),
    ("你好 👩‍👩‍👧", "<think>\nhm\n</think>\n\nA"),
    ("", ""),
]


def theirs(source, conversation, prompting):
    messages = [{"role": "system", "content": conversation.system}] * bool(conversation.system)
    messages += [{"role": m.role, "content": m.content} for m in conversation.messages]
    texts, _ = render_jinja_template(
        [messages], chat_template=source, add_generation_prompt=prompting
    )
    return texts[0]


@pytest.mark.parametrize("name", registry.names())
def test_transformers_renders_the_written_jinja_to_the_same_text(name):
    template = bound(name)
    source = template.jinja()
    assert "\n" not in source, "raw text would depend on an engine's settings"
    for (question, answer), system, count in product(WORDS, (None, "S'\\{{x}}"), (1, 2, 3, 4)):
        messages = turns(*([question, answer] * 2)[:count])
        conversation = Conversation(messages, system)
        prompting = count % 2 == 1
        ours = template.render(conversation, add_generation_prompt=prompting)
        expected = "".join(span.text for span in ours)
        assert theirs(source, conversation, prompting) == expected


def test_the_written_jinja_refuses_what_the_template_refuses():
    template = bound("gemma")
    both = Conversation(turns("a", "b", "c", "d"))
    wrong = both._replace(messages=both.messages[:1] * 2 + both.messages[1:2])
    with pytest.raises(TemplateError):
        template.render(wrong)
    with pytest.raises(Exception, match="alternate"):
        theirs(template.jinja(), wrong, False)


def test_signs_in_the_templates_own_text_are_written_out_safely():
    odd = Turn(open=("'\\n\\' {{ x }} {% y %}\n\r\t\"",), stop=("{# '",))
    format = Format(name="odd", roles=Roles(system=odd, user=odd, assistant=odd))
    template = Template(format, default_system="it's \\ {{ fine }}")
    conversation = Conversation(turns("a", "b"))
    expected = "".join(span.text for span in template.render(conversation))
    assert theirs(template.jinja(), conversation, False) == expected


CALLS = (Call("f", '{"a": 1}'), Call("g", '{"a": [2]}'), Call("f", "{}"))
DEFINED = [
    {
        "type": "function",
        "function": {"name": n, "description": "d", "parameters": {"type": "object"}},
    }
    for n in ("f", "g")
]


def chain(template, results):
    """A chat with calls: as rows have it, and as an OpenAI client sends it."""
    asked, given, again = *turns("q", "a"), *turns("r")
    called = Message("function", "", calls=CALLS[: len(results)])
    told = Message("observation", results[0])
    if len(results) > 1:
        told = Message("observation", "", results=tuple(results))
    row = Conversation((asked, called, told, given, again, called, told), "S", json.dumps(DEFINED))
    sent = [
        {"type": "function", "function": {"name": c.name, "arguments": json.loads(c.arguments)}}
        for c in called.calls
    ]
    calling = {"role": "assistant", "content": None, "tool_calls": sent}
    shown = [{"role": "tool", "content": text} for text in results]
    first, second = ({"role": "user", "content": text} for text in "qr")
    answered = {"role": "assistant", "content": "a"}
    messages = [first, calling, *shown, answered, second, calling, *shown]
    return spelled(row, template), [{"role": "system", "content": "S"}, *messages]


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.format(n).tool_format])
def test_results_sent_one_by_one_are_one_turn(name):
    template = bound(name, today=datetime.date.today())
    source = template.jinja()
    for results in (["one"], ["one", "two\n"], ["", "{}", "</tool_response>"]):
        row, messages = chain(template, results)
        spans = template.render(row, add_generation_prompt=True)
        texts, _ = render_jinja_template(
            [messages], tools=DEFINED, chat_template=source, add_generation_prompt=True
        )
        assert texts[0] == "".join(span.text for span in spans)


@pytest.mark.parametrize(("trim", "between"), [*product((False, True), (None, "", "\n"))])
@pytest.mark.parametrize("name", ["qwen", "qwen3", "glm4"])
def test_what_stands_before_tools_and_calls_is_written_too(name, trim, between):
    fields = {"trim_tools": trim, "between": between, "default_system": None}
    template = bound(name)
    template = replace(template, format=template.format.model_copy(update=fields))
    call = {"name": "f", "arguments": {}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    words = ("", "Look.", "Look.\n", "<think>\nHm\n</think>\n\n", "<think>a</think>Look.")
    for said, system in product(words, (None, "S")):
        answer = Message("function", said, calls=(Call("f", "{}"),))
        talk = Conversation((*turns("q"), answer), system, json.dumps(tools))
        messages = [{"role": "system", "content": "S"}] * bool(system)
        messages += [{"role": "user", "content": "q"}]
        messages += [{"role": "assistant", "content": said, "tool_calls": [call]}]
        texts, _ = render_jinja_template([messages], tools=tools, chat_template=template.jinja())
        assert texts[0] == "".join(span.text for span in template.render(talk))
