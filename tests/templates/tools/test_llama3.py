"""llama3: the date, and JSON with `parameters`."""

from datetime import date

from tool_cases import text_of
from tunesmith.templates import tools
from tunesmith.templates.sandbox import compiled
from tunesmith.templates.tools import llama3
from tunesmith.types import Call


def test_the_date_is_that_of_the_caller():
    text = text_of(llama3.describe([{"name": "f"}], today=date(2026, 11, 2)))
    assert "Today Date: 02 Nov 2026\n" in text


def test_the_date_in_jinja_is_the_engines():
    source = llama3.JINJA_DESCRIBE
    render = compiled(source, "test")
    now = render(tools=[{"name": "f"}], strftime_now=lambda _: "02 Nov 2026")
    assert "Today Date: 02 Nov 2026\n" in now


def test_the_tag_before_a_call_is_read_off_and_arguments_are_no_parameters():
    call = '{"name": "f", "parameters": {"a": 1}}'
    assert llama3.read(f"hm<|python_tag|>{call}") == ("hm", (Call("f", '{"a": 1}'),))
    other = call.replace("parameters", "arguments")
    assert llama3.read(other) == (other, ())


def test_it_is_the_one_format_whose_text_depends_on_the_day():
    days = date(2026, 1, 1), date(2026, 1, 2)
    known = [{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]
    for name in tools.names():
        syntax = tools.get(name)
        first, second = (syntax.describe(known, today=day) for day in days)
        assert (first != second) == hasattr(syntax, "DATED"), name
