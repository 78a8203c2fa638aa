import pytest

from serving import TOKENIZER, TOOLS
from tunesmith.errors import TemplateError
from tunesmith.templates import choose, names
from tunesmith.templates.call_form import call_form, calls_begin
from tunesmith.templates.calls import dumps
from tunesmith.types import Call, Conversation, Message

SAID = dumps(TOOLS)
CALLED = Message("function", "", None, (Call("weather", '{"city": "Rome"}'),))


def written(template):
    spans = template.render(Conversation((Message("user", "a"), CALLED), None, SAID))
    return "".join(span.text for span in spans if span.trained)


@pytest.mark.parametrize("name", ["qwen", "llama3", "mistral", "default", "glm4", "qwen3"])
def test_a_form_filled_in_is_what_the_template_writes_and_reads(name):
    template = choose(name, TOKENIZER)
    before, behind = call_form(template, SAID, "weather")
    whole = f'{before}{{"city": "Rome"}}{behind}'
    assert whole in written(template)
    assert template.read(whole) == ("", CALLED.calls)


def test_every_call_of_every_template_begins_so():
    tried = 0
    for name in names():
        try:
            template = choose(name, TOKENIZER)
            mark, said = calls_begin(template, SAID), written(template)
        except TemplateError:
            continue
        marks = template.format.thinking
        said = said if marks is None else said.split(marks.close.strip())[-1]
        assert said.lstrip().startswith(mark or "weather"), name
        tried += 1
    assert tried > 100
