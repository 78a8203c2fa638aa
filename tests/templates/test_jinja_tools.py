"""Tools under the models' own templates: the text is theirs, the answers are found."""

import json

import pytest

from real_tokenizers import real
from template_cases import turns
from tunesmith.errors import TemplateError
from tunesmith.templates import OwnJinja
from tunesmith.templates.apart import apart
from tunesmith.templates.jinja_tools import as_openai, openai_tools
from tunesmith.types import Call, Conversation, Message

TOOLS = json.dumps(
    [{"type": "function", "function": {
        "name": "weather", "description": "of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
)  # fmt: skip
CALL = Message("function", "", calls=(Call("weather", '{"city": "Paris"}'),))
CHAIN = Conversation(
    (*turns("Weather?"), CALL, Message("observation", "21 °C"), *turns("", "Warm.")[1:]),
    "Be brief.",
    TOOLS,
)


def test_messages_are_those_of_openai():
    assert as_openai(CALL)["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
    assert as_openai(Message("observation", "x")) == {"role": "tool", "content": "x"}
    (tool,) = openai_tools('[{"name": "f"}]', "tools")
    assert tool == {"type": "function", "function": {"name": "f"}}
    assert openai_tools("[]", "tools") is None


@pytest.mark.parametrize("name", ["llama3_1", "deepseek_v3"])
def test_a_template_that_leaves_calls_out_is_refused(name):
    tokenizer = real(name)
    renderer = OwnJinja(tokenizer.chat_template, tokenizer)
    for row in (CHAIN, CHAIN._replace(tools=None)):
        with pytest.raises(TemplateError, match="weather"):
            renderer.render(row)


@pytest.mark.parametrize("name", ["qwen3"])
def test_calls_and_answers_are_learned_with_their_ends_and_questions_are_not(name):
    tokenizer = real(name)
    renderer = OwnJinja(tokenizer.chat_template, tokenizer)
    pieces = []
    for part in apart(renderer, CHAIN):
        spans = renderer.render(part)
        assert "".join(s.text for s in spans) == renderer.text(part, prompting=False)
        pieces.append("".join(s.text if s.trained else "\0" for s in spans))
        assert all(not s.control for s in spans if "Weather?" in s.text)
    answers = [text for piece in pieces for text in piece.split("\0") if text]
    assert len(answers) == 2
    assert "weather" in answers[0]
    assert "Paris" in answers[0]
    assert "Warm." in answers[1]
    assert all(a.endswith((tokenizer.eos, *tokenizer.stops, "<|eot_id|>")) for a in answers)


def test_a_control_token_inside_a_tool_is_refused():
    tokenizer = real("qwen3")
    renderer = OwnJinja(tokenizer.chat_template, tokenizer)
    bad = CHAIN._replace(tools=TOOLS.replace("of a city", "<|im_end|>"))
    with pytest.raises(TemplateError) as caught:
        renderer.render(bad)
    assert caught.value.got == "<|im_end|>"


def test_where_thoughts_are_off_calls_are_learned_behind_the_prompt_that_is_served():
    tokenizer = real("qwen3")
    renderer = OwnJinja(tokenizer.chat_template, tokenizer, options={"enable_thinking": False})
    parts = apart(renderer, CHAIN)
    assert len(parts) == 2
    for part in parts:
        asked = part._replace(messages=part.messages[:-1])
        prompt = renderer.text(asked, prompting=True)
        assert prompt.endswith("</think>\n\n")
        spans = renderer.render(part)
        first = next(i for i, span in enumerate(spans) if span.trained)
        assert "".join(span.text for span in spans[:first]) == prompt
        assert "<think>" not in "".join(span.text for span in spans if span.trained)


def test_numbers_in_calls_and_tools_stay_as_they_were_written():
    tokenizer = real("qwen3")
    renderer = OwnJinja(tokenizer.chat_template, tokenizer)
    written = f'{{"a": [1.50, 12345678901234567890.0, 1e400, 1E5, 1e-400, {"7" * 5000}]}}'
    call = CALL._replace(calls=(Call("weather", written),))
    tools = TOOLS.replace('"of a city"', '"of a city", "maximum": 1E5')
    row = Conversation((*turns("Weather?"), call), None, tools)
    spans = renderer.render(row)
    assert written in "".join(span.text for span in spans if span.trained)
    assert '"maximum": 1E5' in "".join(span.text for span in spans)


def test_arguments_that_are_no_object_are_an_error_of_the_row():
    with pytest.raises(TemplateError, match="arguments"):
        as_openai(CALL._replace(calls=(Call("weather", "oops"),)))
