"""Jinja over watched words: what it does to them is asked, let through, or refused."""

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates.intercept import container, holds, seen
from tunesmith.templates.sandbox import compiled
from tunesmith.templates.trace import Opaque, Trace, joined, pieces_of, text_of
from tunesmith.templates.watched import Watched, words

WORDS = ["a </think> b", " x "]
FOLLOWED = [
    "{{ w|trim }}{{ w|string }}{{ w|replace('b', '') }}{{ w|default('z') }}",
    "{{ 'long' if w|length > 3 else 'short' }}{{ 'two' if w.split(' ')|length == 4 }}",
    "{{ w.split('</think>')|last|trim }}{{ w.split('</think>')|first }}",
    "{{ [w, 'and', v]|join('+') }}{{ '-'.join([w, v]) }}{{ w ~ '/' ~ v ~ 1 }}{{ w + v }}",
    "{{ 'in' if w in ['x', w] }}{{ 'on' if w in 'xa </think> bx' }}{{ 'x' not in w }}",
    "{{ w is in 'abc' }}{{ w is in ['a'] }}{{ w is eq('q') }}{{ w is string }}{{ v is mapping }}",
    "{% set b %}<{{ w }}>{% endset %}{{ b|trim }}{{ b.startswith('<a') }}",
    "{% macro m(x) %}{{ x }}!{% endmacro %}{{ m(w).endswith('!') }}{{ m(v)|trim }}",
    "{% filter trim %} {{ w }} {% endfilter %}",
    "{{ {'k': w}['k'] }}{{ {'k': w}.get('k') }}{{ dict(k=w).k }}{{ namespace(k=w).k }}",
    "{% for x in [w, v]|reverse %}{{ x }}{% endfor %}{{ [w, v]|map('trim')|join }}",
    "{{ ([v, w]|select('eq', w)|list)[0] }}{{ [{'a': w}]|map(attribute='a')|first }}",
    "{{ w[0:3] }}{{ w[0] }}{{ w[-1] == 'b' }}{{ w.nothing }}{{ w['strip']() }}",
    "{% set s = [w, v]|map('trim') %}{{ s is sequence }}{{ s|join }}{{ s|join }}",
    "{{ [w, v]|length }}{{ [w]|first }}{{ {'a': w}|list }}",
]  # fmt: skip
REFUSED = [
    "{{ w|upper }}", "{{ w|tojson }}", "{{ [w]|tojson }}", "{{ {'a': w} }}", "{{ [w] }}",
    "{{ w|length }}", "{{ w|int }}", "{{ '%s'|format(w) }}", "{{ '%s' % w }}", "{{ '%5s' % (w,) }}",
    "{{ w * 2 }}",
    "{{ '{}'.format(w) }}", "{{ 'abc'.replace('a', w) }}", "{{ 'abc'.find(w) }}", "{{ w|e }}",
    "{{ w|list }}", "{% for c in w %}{% endfor %}", "{{ [w, v]|sort }}", "{{ [w, v]|max }}",
    "{{ [w]|unique|list }}", "{{ {'a': 1}[w] }}", "{{ range(w|length) }}", "{{ w is lower }}",
    "{{ w|reverse }}", "{{ w|first }}", "{{ w|attr('upper') }}", "{{ [1]|random }}",
    "{{ cycler(w) }}", "{{ w.split('x')|join }}", "{{ w.split('x') is iterable and w|wordcount }}",
    "{% set b %}{{ w }}{% endset %}{{ b|upper }}", "{% filter lower %}{{ w }}{% endfilter %}",
    "{% autoescape true %}{{ w }}{% endautoescape %}", "{% set a, b = w.split('x') %}",
    "{{ namespace(a=w) }}", "{{ w|truncate(3) }}", "{{ w.join(['a', 'b']) }}",
]  # fmt: skip


@pytest.mark.parametrize("source", FOLLOWED)
def test_what_is_followed_comes_to_the_same_text(source):
    render = compiled(source, "x")
    trace = Trace(WORDS)
    w, v = words(trace)
    text = render(trace, w=w, v=v)
    assert isinstance(text, Watched)
    assert joined(trace.values, pieces_of(text)) == render(w=WORDS[0], v=WORDS[1])


@pytest.mark.parametrize("source", REFUSED)
def test_what_reads_the_characters_unseen_is_refused(source):
    trace = Trace(WORDS)
    w, v = words(trace)
    with pytest.raises(Opaque):
        pieces_of(compiled(source, "x")(trace, w=w, v=v))


def test_an_error_of_the_template_is_one_under_a_trace_too():
    trace = Trace(WORDS)
    with pytest.raises(TemplateError, match="no"):
        compiled("{{ raise_exception('no') if w }}", "x")(trace, w=words(trace)[0])


def test_a_rendering_after_a_watched_one_is_not_watched():
    render, trace = compiled("{{ w|upper }}", "x"), Trace(WORDS)
    with pytest.raises(Opaque):
        render(trace, w=words(trace)[0])
    assert render(w="a") == "A"


def test_marks_in_a_plain_text_are_seen_again():
    trace = Trace(WORDS)
    (word, _) = words(trace)
    plain = "".join(["<", word])
    assert not isinstance(plain, Watched)
    assert isinstance(seen(trace, plain), Watched)
    assert seen(trace, "plain") == "plain"
    assert holds([{"a": (1, plain)}])
    assert not holds([{"a": (1, "b", None, range(3))}])
    assert word in container(trace, f"x{WORDS[0]}x")
    assert "x" in container(trace, "xyz")
    assert pieces_of(text_of((1,))) == (1,)
