"""A Jinja template on a fixed day says that day, whatever the clock says."""

import datetime

from tiny_tokenizer import load_tiny
from tunesmith.templates import OwnJinja, choose
from tunesmith.types import Conversation, Message

DATED = (
    "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DAY = datetime.date(2001, 2, 3)
ASKED = Conversation((Message("user", "a"),))


def text(renderer):
    return "".join(s.text for s in renderer.render(ASKED, add_generation_prompt=True))


def test_the_day_is_in_the_text_and_not_in_the_template_that_is_served():
    tiny = load_tiny(DATED)
    own = choose(None, tiny, today=DAY)
    assert text(own).startswith("03 Feb 2001<|im_start|>user")
    assert own.jinja() == DATED
    assert isinstance(own, OwnJinja)
    assert not text(choose(None, tiny)).startswith("03 Feb 2001")


def test_a_template_by_name_has_the_day_too():
    assert choose("llama3", load_tiny(bos="<|im_start|>"), today=DAY).today == DAY


def test_other_facts_go_before_the_day():
    own = choose(None, load_tiny(DATED), today=DAY)
    assert own.text(ASKED, prompting=True, strftime_now=lambda _: "another").startswith("another<")
