"""A stranger's Jinja: bounded, without a way out, and otherwise as transformers runs it."""

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tunesmith.errors import TemplateError
from tunesmith.templates.sandbox import compiled

HOSTILE = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(90000) %}{% set x = range(99999)|list %}{% endfor %}",
    "{% macro a(n) %}{{ a(n-1) ~ a(n-1) if n else '' }}{% endmacro %}{{ a(60) }}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(60) %}"
    "{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}",
    "{{ 'x' * (10 ** 10) }}",
    "{{ [1] * 10 ** 9 }}",
    "{{ 2 ** (10 ** 9) }}",
    "{{ 'x'.center(10 ** 9) }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x'|indent(999999999) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format('x') }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ range(10 ** 9)|list }}",
    "{{ range(99999)|map('string')|join('x' * 99999) }}",
    "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}",
    "{{ ('x' * 100000).join(range(99999)|map('string')|list) }}",
    "{{ lipsum(n=100000) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ messages.append(1) }}",
    "{{ messages.__len__.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ raise_exception('no') }}",
    "{{ messages[7].content + 1 }}",
    "{% for x in messages %}",
    "{{ cycler() }}",
    "{{ 'abc' | truncate(1) }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_or_broken_template_is_refused_with_its_place(source):
    with pytest.raises(TemplateError) as caught:
        compiled(source, "template: x")(messages=[])
    assert caught.value.where == "template: x"
    assert caught.value.got
    assert caught.value.need


def test_a_template_that_is_too_long_is_refused():
    with pytest.raises(TemplateError, match="template: x"):
        compiled("a" * 1_000_001, "template: x")


def test_the_budget_is_per_rendering():
    render = compiled("{% for a in range(90000) %}{% endfor %}ok", "x")
    assert [render() for _ in range(60)] == ["ok"] * 60


USUAL = [
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ m.content | trim }}\n{% endfor %}",
    "{%- for m in messages if m.role != 'user' %}\n  "
    "{{ m['content'] ~ loop.last ~ 1 }}{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
    "{{ m }}{% break %}{% endfor %}",
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ {'a': '<é>'} | tojson }}",
    "{% set ns = namespace(a='') %}{% for m in messages %}{% set ns.a = ns.a + m.role %}"
    "{% endfor %}"
    "{{ ns.a }}",
    "{% generation %}{{ messages[1].content }}{% endgeneration %}!",
    "{{ messages[::-1] | map(attribute='role') | join(', ') }}{{ nothing }}"
    "{{ nothing is defined }}",
    "{{ messages[0].content.split('e')[-1].lstrip('\\n') }}{{ 'a-%s' | format(5) }}"
    "{{ 5000 | string }}",
    "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(messages | length) }}{{ dict(a=1)['a'] }}",
    "{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}   \n{% if true %}\n  b\n  {% endif %}\nc",
    "{{ '%s and %d' % ('a', 5) }}{{ 'a' * 3 }}{{ 2 ** 8 }}{{ '{}-{}'.format(1, 2) }}",
]


@pytest.mark.parametrize("source", USUAL)
def test_an_ordinary_template_renders_as_in_transformers(source):
    messages = [{"role": "user", "content": " hé\nllo "}, {"role": "assistant", "content": "ok"}]
    (expected,), _ = render_jinja_template([messages], chat_template=source)
    ours = compiled(source, "x")(messages=messages, tools=None, documents=None)
    assert ours == expected
