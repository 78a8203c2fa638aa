"""Words before calls are read back as they were written, or the row is refused."""

from itertools import product

import pytest

from template_cases import bound
from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.types import Call, Conversation, Message

ENDS = [
    *("a", "a\n", "a ", "\n", "a>", "[", "x [", "{", '{"a": 1}', '{"name": "f", "arguments": {}}'),
    *('{"name": "f", "arguments": {}}, ', "[1, ", "[{", "```json\n", "Action:", "Action: ", "f"),
    *("<tool_call>", "<tool_call>f\n</tool_call>", "</tool_call>", "f\n{}\n", "f\n{}<|assistant|>"),
    *(
        "[TOOL_CALLS]",
        "x[TOOL_CALLS] ",
        "<|python_tag|>",
        "x<|assistant|>",
        "<|tool_call>",
        "call:",
    ),
    *("<minimax:tool_call>\n", "<tool_calls>", "<function_calls>", "<seed:tool_call>", "\r\n"),
]
LOST = {"mistral": "[TOOL_CALLS] ", "llama3": "x [", "glm4": "x<|assistant|>"}


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.format(n).tool_format])
def test_words_before_a_call_are_read_back_or_refused(name):
    template = bound(name)
    refused = []
    one, two = Call("weather", '{"city": "Paris"}'), Call("time", '{"odd": [1]}')
    for words, calls in product(ENDS, ((one,), (one, two))):
        row = Conversation((Message("user", "q"), Message("function", words, calls=calls)))
        try:
            spans = template.render(row)
        except TemplateError as error:
            refused.append(error.where)
            continue
        text = "".join(span.text for span in spans if span.trained)
        last = max(text.rfind("Paris"), text.rfind("odd"))
        ends = [text.find(w, last) for w in template.stop_words]
        end = min([at for at in ends if at >= 0], default=len(text))
        assert template.read(text[:end]) == (words, calls)
    assert len(refused) <= 6, "few are"
    assert set(refused) <= {"words before a call"}


@pytest.mark.parametrize("name", LOST)
def test_words_that_end_in_the_mark_of_calls_are_refused(name):
    said = Message("function", LOST[name], calls=(Call("f", "{}"),))
    with pytest.raises(TemplateError, match="words before a call") as caught:
        bound(name).render(Conversation((Message("user", "q"), said)))
    assert "before a call of f" in str(caught.value.got)
