"""Thoughts and results stand in a template's own words."""

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.templates import choose, has_marks, spelled
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.spelled import between_results, marks
from tunesmith.types import Call, Conversation, Message

TINY = load_tiny()
CALLS = (Call("f", "{}"), Call("g", "{}"))
PLAIN = (Message("user", "q"), Message("assistant", "a"))
JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_conversation_without_either_is_the_same_object():
    conversation = Conversation(PLAIN)
    assert spelled(conversation, choose("qwen3", TINY)) is conversation


@pytest.mark.parametrize("name", ["qwen3", "chatml", "seed_oss", "deepseekr1"])
def test_a_thought_stands_between_the_marks(name):
    template = choose(name, TINY)
    opened, closed = marks(template)
    said = spelled(Conversation((PLAIN[0], Message("assistant", "a", thought="\nhm\n"))), template)
    assert said.messages[1] == Message("assistant", f"{opened}hm{closed}a")
    assert has_marks(template) is (name != "chatml")


def test_a_thought_before_calls_is_rendered_as_the_same_words_would_be():
    template = choose("qwen3", TINY)
    words = Message("function", "<think>\nhm\n</think>\n\n", None, CALLS[:1])
    thinks = Message("function", "", None, CALLS[:1], "hm")
    asked = PLAIN[0]
    given = spelled(Conversation((asked, thinks)), template)
    assert template.render(given) == template.render(Conversation((asked, words)))


def results(template):
    turns = (PLAIN[0], Message("function", "", None, CALLS), Message("observation", ""), PLAIN[1])
    turns = (*turns[:2], turns[2]._replace(results=("r1", "r2")), turns[3])
    return spelled(Conversation(turns), template)


def test_results_stand_in_the_inner_marks_of_a_template_that_has_some():
    text = "".join(
        span.text for span in choose("qwen3", TINY).render(results(choose("qwen3", TINY)))
    )
    assert (
        "<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n"
        "</tool_response><|im_end|>\n"
    ) in text


def test_results_stand_on_lines_where_there_are_no_inner_marks():
    assert results(choose("llama3", TINY)).messages[2] == Message("observation", "r1\nr2")
    assert between_results(choose("chatml", TINY)) == "\n"


def test_of_a_jinja_the_text_tells():
    plain = OwnJinja(JINJA, TINY)
    assert (has_marks(plain), between_results(plain)) == (False, "\n")
    thinks = OwnJinja("{# <seed:think> </seed:think> <tool_response> #}" + JINJA, TINY)
    assert marks(thinks) == ("<seed:think>", "</seed:think>")
    assert between_results(thinks) == "\n</tool_response>\n<tool_response>\n"


def test_what_is_not_spelled_out_is_not_laid_out():
    thinks = Conversation((PLAIN[0], Message("assistant", "a", thought="hm")))
    with pytest.raises(AssertionError, match="spelled"):
        choose("chatml", TINY).render(thinks)
