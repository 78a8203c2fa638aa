"""What is laid out without Jinja is what Jinja lays out, whatever the words are."""

import datetime
import random

import pytest

from real_tokenizers import real
from template_cases import BOS, bound, turns
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import OwnJinja, registry, sandbox, trace, traced
from tunesmith.templates.jinja_spans import Found, Part, laid
from tunesmith.templates.jinja_texts import Shape
from tunesmith.templates.traced import Traced
from tunesmith.types import Conversation

PLAIN = "{{ m.content }}"
AROUND = (
    "{% macro tidy(x) %}{{ x|trim }}{% endmacro %}"
    "{% set ns = namespace(last=-1, seen='') %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n@<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FOLLOWED = {
    "as it is": PLAIN,
    "in a dict": "{{ {'a': m['content']}['a'] }}{{ {'a': m}['a'].get('role', '') }}",
    "trimmed": "{{ m.content | trim }}",
    "stripped": "{{ m['content'].strip() }}",
    "cut from both ends": "{{ m.content.lstrip('\n').rstrip() }}",
    "thoughts left out": "{{ m.content.split('</think>')[-1].lstrip('\n') }}",
    "thoughts of the last": "{% set c = m.content %}{% if '</think>' in c and "
    "loop.index0 < ns.last %}{% set c = c.split('</think>')[-1].lstrip() %}{% endif %}{{ c }}",
    "thoughts rebuilt": "{% if m.role == 'assistant' and '</think>' in m.content %}<think>"
    "{{ m.content.split('</think>')[0].split('<think>')|last }}</think>"
    "{{ m.content.partition('</think>')[2] }}{% else %}{{ m.content }}{% endif %}",
    "asked how it begins": "{{ '[tool]' if m.content.startswith('<tool_response>') "
    "and m.content.endswith(('</tool_response>', '\n')) }}{{ m.content }}",
    "asked whether it is empty": "{{ '(none)' if m.content|trim|length == 0 }}{{ m.content }}",
    "asked how long it is": "{{ '(long)' if m.content|length > 40 }}{{ m.content }}",
    "compared": "{{ 'E' if m.content == '' }}{{ 'B' if not m.content != 'b' }}"
    "{{ 'C' if '\"' > m.content }}{{ m.content }}",
    "compared among themselves": "{{ '2' if loop.index0 and "
    "messages[loop.index0 - 1].content == m.content }}{{ m.content }}",
    "looked for": "{{ 'I' if m.content in 'a </think> b' }}{{ 'L' if m.content in ['a', ' a'] }}"
    "{{ 'T' if m.content is in 'xyz' }}{{ 'F' if m.content.find('<') > 0 }}{{ m.content }}",
    "tests": "{{ '' if m.content is string and m.content is not none and m.content is defined "
    "and m.content is not mapping else 'odd' }}{{ 'q' if m.content is eq('a') }}{{ m.content }}",
    "default": "{{ m.content | default('x') }}{{ m.nothing | default('') }}",
    "default of what is empty": "{{ m.content | default('x', true) }}",
    "set block": "{% set c %}{{ m.content }}{% endset %}{{ c }}",
    "set block, trimmed": "{% set c %}  {{ m.content }} {% endset %}{{ c | trim }}",
    "filter block": "{% filter trim %}{{ m.content }}{% endfilter %}",
    "macro": "{{ tidy(m.content) }}",
    "macro, asked": "{% set t = tidy(m.content) %}{{ t if t else '(none)' }}",
    "caller": "{% macro b() %}{{ caller() }}{% endmacro %}"
    "{% call b() %}{{ m.content }}{% endcall %}",
    "generation": "{% generation %}{{ m.content }}{% endgeneration %}",
    "joined": "{{ ['', m.content, ''] | join('') }}{{ ''.join(['']) }}",
    "tilde": "{{ '' ~ m.content ~ '' }}",
    "replaced": "{{ m.content.replace('</think>', '') | replace('\r\n', '\n') }}",
    "a beginning": "{{ m.content[:12] }}",
    "one character": "{{ '!' if m.content[0] == ' ' }}"
    "{{ '?' if m.content[-1:] == 'w' }}{{ m.content }}",
    "mapped": "{% set all = messages | map(attribute='content') | list %}{{ all[loop.index0] }}",
    "selected": "{{ messages | selectattr('content', 'equalto', 'b') | list | length }}"
    "{{ m.content }}",
    "the last question": "{% set u = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{ '*' if u[-1].content == m.content and false }}{{ m.content }}",
    "reversed": "{% for r in messages[::-1] if r.content.startswith('q') %}{% endfor %}"
    "{{ m.content }}",
    "namespace": "{% set ns.seen = ns.seen + m.content %}{{ m.content }}",
    "facts": "{{ 'S' if m.content.isspace() }}{{ m.content }}",
    "an item of a text": "{{ 'o' if m.content.text is defined }}{{ m.content['strip']() }}",
    "cut at its ends": "{{ m.content.removeprefix('<think>').removesuffix('\n') }}",
}  # fmt: skip
NOT_FOLLOWED = {
    "tojson": "{{ '' if (m.content | tojson) == '\"a\"' }}{{ m.content }}",
    "upper": "{{ m.content | upper }}",
    "method upper": "{{ '' if m.content.upper() == 'A' }}{{ m.content }}",
    "int": "{{ m.content | int }}{{ m.content }}",
    "format": "{{ '%s' | format(m.content) }}",
    "percent": "{{ '%s' % m.content }}",
    "its format": "{{ m.content.format(1) }}",
    "brace format": "{{ '{}'.format(m.content) }}",
    "each character": "{% for c in m.content %}{{ c }}{% endfor %}",
    "a key": "{{ {'a': 1}[m.content] }}{{ m.content }}",
    "in a dict's keys": "{{ '' if m.content in {'a': 1} }}{{ m.content }}",
    "the list of messages": "{{ '' if messages | string == '' }}{{ m.content }}",
    "messages as JSON": "{{ '' if messages | tojson == '' }}{{ m.content }}",
    "escaped": "{{ m.content | e }}",
    "title of a block": "{% filter upper %}{{ m.content }}{% endfilter %}",
    "words counted": "{{ '' if m.content | wordcount > 2 }}{{ m.content }}",
    "repeated": "{{ '' if m.content * 2 == 'aa' }}{{ m.content }}",
    "a grown replacement": "{{ m.content | replace('a', 'bbbb') }}",
    "sorted": "{{ '' if (messages | sort(attribute='content'))[0].content == 'a' }}{{ m.content }}",
    "length shown": "{{ m.content | length }}{{ m.content }}",
    "length as an index": "{{ '' if messages[m.content | length] is defined }}{{ m.content }}",
    "a sum": "{{ '' if (m.content | length) + 1 > 5 }}{{ m.content }}",
    "unpacked": "{% set a, b = (m.content ~ '|').split('|')[0:2] %}{{ m.content }}",
    "autoescape": "{% autoescape true %}{{ m.content }}{% endautoescape %}",
    "random": "{{ '' if [1, 1] | random == 1 }}{{ m.content }}",
    "lower test": "{{ 'l' if m.content is lower }}{{ m.content }}",
}  # fmt: skip
NASTY = [
    "", " ", "\n", "\t \n", "a", "b", " a ", "q\n", "\n\nlead", "x" * 5000, "</think>", "<think>",
    "<think>\nhm\n</think>\n\nA", "<think></think>", "a</think>b</think>c", "</think>\n\n",
    "<tool_response>\n1\n</tool_response>", "<tool_response>", "<|im_end|>", "it's", "?",
    "<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n", "\ue000", "\ue0000\ue001",
    " \ue000\"<\\Aa", "\ue001 ", '"quoted" \\ {{ x }} {% y %}', "%s %d {} {0}", "\xa0pad\xa0",
    "\xe9\u0301 \xdf \u0130 \u6f22", "\r\n", "a\r\nb", "</s>", "\x00", "\u2028", "12", "a|b|c",
    "<end_of_turn>\n", "<think>\n\n</think>\n\n",
]  # fmt: skip


ATOMS = ["a", "b", "w", " ", "\n", "<think>", "</think>", "<tool_response>", "\r\n", "<|im_end|>"]


def own(body):
    return OwnJinja(AROUND.replace("@", body), load_tiny())


def nasty_conversations(count, seed=0):
    """Conversations of every shape, of words that templates look at, asked twice."""
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        length = draw.choice([1, 2, 2, 3, 4, 4, 6])
        few = draw.sample(NASTY, 3) if draw.random() < 0.5 else NASTY
        atoms = draw.sample(ATOMS, 3)
        contents = [
            draw.choice(few) if draw.random() < 0.4 else "".join(draw.choices(atoms, k=k))
            for k in draw.choices(range(5), k=length)
        ]
        system = draw.choice([None, None, "Be brief.", " S\n", draw.choice(NASTY)])
        out.append(Conversation(turns(*contents), system))
    return out


def outcome(lay_out):
    """What comes out, or what the error says."""
    try:
        return lay_out()
    except TemplateError as error:
        return error.where, error.got, error.need, error.hint


def untraced(renderer, conversation):
    system = conversation.system or None
    words = [*([system] if system else []), *(m.content for m in conversation.messages)]
    length = len(conversation.messages)
    return laid(renderer.finder.find(Shape(bool(system), length, length % 2 == 1), words))


def hold_to_jinja(renderer, count, seed=0):
    """Hold renderings to those that are not traced; how many of these have been refused."""
    refused, known = 0, {}
    for conversation in nasty_conversations(count, seed):
        prompting = len(conversation.messages) % 2 == 1
        expected = outcome(lambda c=conversation: untraced(renderer, c))
        for _ in range(2):
            renderer._plain.cache_clear()
            found = outcome(lambda c=conversation, p=prompting: renderer._laid(c, p))
            assert found == expected, conversation
        refused += len(expected) == 4
        shape = None if prompting else renderer.shape(conversation)
        if shape is not None:
            spans, _, same = expected
            assert [span.text for span in spans if not span.control] == shape.words
            frame = [(span.control and span.text, *span[1:]) for span in spans]
            assert known.setdefault(shape.key, (frame, same)) == (frame, same), conversation
    return refused


def renderings(renderer):
    """A list that grows with each run of the template."""
    ran, run = [], renderer._render

    def counted(*args, **kwargs):
        ran.append(1)
        return run(*args, **kwargs)

    renderer._render = counted
    return ran


def runs_on_a_path(renderer):
    """How often the template runs for conversations after the first of their kind."""
    ran, counts = renderings(renderer), []
    for i in range(5):
        words = (f"How {i}?", f"So it is {i}.", f"Why {i}?", "Oh.")
        outcome(lambda words=words: renderer._laid(Conversation(turns(*words)), False))
        counts.append(len(ran))
    return counts[-1] - counts[0]


@pytest.mark.parametrize("body", FOLLOWED.values(), ids=FOLLOWED)
def test_what_is_followed_is_what_jinja_writes(body):
    hold_to_jinja(own(body), 150)
    assert runs_on_a_path(own(body)) == 0


@pytest.mark.parametrize("body", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_what_reads_the_characters_is_left_to_jinja(body):
    hold_to_jinja(own(body), 60)
    assert runs_on_a_path(own(body)) > 0


@pytest.mark.parametrize("name", ["smollm2", "qwen3", "llama3_1", "deepseek_v3", "gemma3"])
def test_real_templates_are_followed(name):
    tokenizer = real(name)
    renderer = OwnJinja(tokenizer.chat_template, tokenizer)
    hold_to_jinja(renderer, 400)
    assert runs_on_a_path(OwnJinja(tokenizer.chat_template, tokenizer)) == 0


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "empty"])
def test_the_jinja_that_a_shipped_template_writes_is_followed(name):
    template = bound(name)
    end = template.text(template.format.roles.assistant.stop).strip()
    stops = (*template.stop_words, end)
    tiny = load_tiny()._replace(bos=BOS, eos=template.eos, stops=stops)
    renderer = OwnJinja(template.jinja(), tiny)
    hold_to_jinja(renderer, 8)
    assert runs_on_a_path(renderer) == 0


SAID = Conversation(turns("How?", "So."))
DATED = "{{ strftime_now('%d %b %Y') if loop.first }}{{ m.content }}"


class Clock(datetime.datetime):
    """A day that the test sets."""

    day = 1

    @classmethod
    def now(cls, tz=None):
        """Noon of that day."""
        return cls(2024, 7, cls.day, 12, tzinfo=tz)


def test_a_template_with_the_date_follows_the_clock(monkeypatch):
    monkeypatch.setattr(trace, "datetime", Clock)
    monkeypatch.setattr(sandbox, "datetime", Clock)
    renderer = own(DATED)
    assert "01 Jul 2024" in renderer.render(SAID)[0].text
    ran = renderings(renderer)
    renderer.render(Conversation(turns("Why?", "So.")))
    assert ran == []
    monkeypatch.setattr(Clock, "day", 2)
    spans = renderer.render(Conversation(turns("When?", "Now.")))
    assert "02 Jul 2024" in "".join(span.text for span in spans)
    assert ran
    hold_to_jinja(renderer, 20)


def test_a_path_that_its_own_conversation_contradicts_closes_the_shape():
    shape, asked = Shape(False, 1, True), []

    def find(_shape, words, watching):
        asked.append(watching is None)
        return Found([Part(words[0]), Part("." if watching is None else "!")], [])

    laying = Traced(find)
    for word in ("one", "two", "three"):
        assert [span.text for span in laying.lay_out(shape, [word]).spans] == [word, "."]
    assert asked == [False, True, True, True]


def test_a_template_that_asks_otherwise_without_a_reason_is_not_followed():
    shape, traces = Shape(False, 1, True), []

    def find(_shape, words, watching):
        if watching is not None:
            traces.append(watching)
            words[0].startswith("ab"[len(traces) - 1])  # another first question each time
        return Found([Part(words[0])], [])

    laying = Traced(find)
    for word in ("a", "x", "y", "a", "b"):
        assert [span.text for span in laying.lay_out(shape, [word]).spans] == [word]
    assert len(traces) == 2
    assert laying._roots[shape].ends


def test_words_that_would_break_the_budget_break_it_as_ever(monkeypatch):
    body = "{% for i in range(40) %}{% set x = m.content.strip() %}{% endfor %}{{ m.content }}"
    renderer = own(body)
    renderer.render(SAID)
    ran = renderings(renderer)
    renderer.render(Conversation(turns("Why?", "So.")))
    assert ran == []
    with pytest.raises(TemplateError, match="steps"):
        renderer.render(Conversation(turns("y" * 21_000_000, "So.")))
    assert ran


def test_an_error_is_that_of_the_template_for_every_row():
    body = "{% if 'bad' in m.content %}{{ raise_exception('no: ' + m.content) }}{% endif %}"
    renderer = own(body + PLAIN)
    for words in ("bad 1", "bad 2", "good", "bad 3"):
        found = outcome(lambda w=words: renderer._laid(Conversation(turns(w, "So.")), False))
        if words != "good":
            assert found[1] == f"no: {words}"


def test_paths_and_shapes_are_limited(monkeypatch):
    monkeypatch.setattr(traced, "MOST_PATHS", 3)
    monkeypatch.setattr(traced, "MOST_SHAPES", 4)
    renderer = own("{% if 'a' in m.content %}{% endif %}{{ m.content }}")
    hold_to_jinja(renderer, 60)
    assert len(renderer._traced._roots) == 4
    assert max(renderer._traced._paths.values()) == 3


def test_characters_of_paths_are_limited():
    renderer = own(PLAIN)
    renderer._traced._room = 1
    renderer.render(SAID)
    renderer.render(Conversation(turns("a", "b", "c", "d")))
    ran = renderings(renderer)
    renderer.render(Conversation(turns("Why?", "So.")))
    assert ran == []
    renderer.render(Conversation(turns("e", "f", "g", "h")))
    assert ran
