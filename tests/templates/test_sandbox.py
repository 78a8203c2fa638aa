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
    "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x ** 64 %}{% endfor %}",
    "{{ ('f' * 3000000)|int(base=16) }}",
    *[
        "{% set n = namespace(d=[1], e=[1]) %}{% for i in range(90) %}{% set n.d = [n.d, n.d] %}"
        f"{{% set n.e = [n.e, n.e] %}}{{% endfor %}}{use}"
        for use in (
            "{{ n.d }}",
            "{{ n }}",
            "{{ n.d|string|length }}",
            "{{ n.d|tojson }}",
            "{{ n.d ~ '' }}",
            "{{ '%s' % n.d }}",
            "{{ '{}'.format(n.d) }}",
            "{{ [n.d]|join }}",
            "{{ n.d == n.e }}",
            "{{ n.d is eq(n.e) }}",
            "{{ n.d in [n.e] }}",
            "{{ [n.d, n.e]|unique|list }}",
            "{{ [n.d, n.e]|max }}",
            "{{ dict(a=n.d).items() }}",
            "{{ [n.d].index(n.e) }}",
            "{{ raise_exception(n.d) }}",
            "{% for i in [1, 2] %}{{ loop.changed(n.d if i == 1 else n.e) }}{% endfor %}",
        )
    ],
    "{% set n = namespace(d=(1,)) %}{% for i in range(90) %}{% set n.d = (n.d, n.d) %}{% endfor %}",
    *[
        "{% set s = 'a' * 30000000 %}{% set t = 'a' * 30000000 %}"
        f"{{% for i in range(90000) %}}{{% set x = {use} %}}{{% endfor %}}"
        for use in (
            "s.count('b')",
            "'b' in s",
            "s == t",
            "s < t",
            "s is eq(t)",
            "s[1:]",
            "s|upper",
            "s.strip()",
            "s|trim",
            "s is lower",
        )
    ],
    "{{ ('a' * 3000000).rfind('b' ~ 'a' * 1500000) }}",
    "{% for i in range(90000) %}{% set x = ('a\n' * 1000000).splitlines() %}{% endfor %}",
    "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "{{ ''.maketrans({'a': 'b'}) }}",
    "{{ ('\t' * 10000).expandtabs(100000) }}",
    "{{ ('a\n' * 1000000)|indent(1000) }}",
    "{{ ('a\n' * 1000000)|indent('x' * 100000) }}",
    "{{ [[1]]|sum(start=[]) }}",
    "{{ ('{0:>999}' * 4000000).format(1) }}",
    "{{ ('%(a)s' * 6000000) % {'a': 'b' * 30000000} }}",
    "{{ 'a'.encode().ljust(9999999999) }}",
    "{{ (1).to_bytes(9999999999, 'big') }}",
    "{{ dict.fromkeys(range(9)) }}",
    "{{ strftime_now('%9999999999Y') }}",
    "{{ [1] * 30000000 }}",
    "{{ ('<' * 300000)|striptags }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ self._TemplateReference__context }}",
    "{% if messages.__class__ is defined %}x{% endif %}",
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


def test_what_no_chat_template_needs_is_refused_by_its_name():
    for source, name in (("{{ 'a'.translate({}) }}", "translate"), ("{{ 1|pprint }}", "pprint")):
        with pytest.raises(TemplateError, match=name):
            compiled(source, "x")()


def test_the_methods_and_filters_of_usual_templates_are_there():
    source = (
        "{{ ' a-b '.strip().split('-') }}{{ 'ab'.replace('a', 'c').title() }}{{ d.items()|list }}"
        "{{ d.get('a', 1) }}{{ 'abc'.startswith('a') and 'abc'.endswith('c') }}{{ 'a'.upper() }}"
        "{{ d.keys()|join(',') }}{{ d|dictsort }}{{ [3, 1]|sort|first }}{{ [1, 2]|sum }}"
        "{{ 'x\ny'|indent(2) }}{{ (1, 2)[0] }}{{ d|tojson(indent=2) }}{{ 'a'|e }}{{ 7 // 2 - 1 }}"
        "{{ 'abc'.removeprefix('a').find('c') }}{{ ', '.join(['x', 'y']) }}{{ 'b' in 'abc' }}"
    )
    (expected,), _ = render_jinja_template(
        [[{"role": "user", "content": ""}]], chat_template=source, d={"b": [1], "a": 0.5}
    )
    assert compiled(source, "x")(d={"b": [1], "a": 0.5}) == expected


def test_a_long_conversation_is_within_the_budget():
    source = (
        "{% set n = namespace(s='') %}{% for m in messages %}{% if '</think>' in m.content %}"
        "{% set n.s = n.s + m.content.split('</think>')[-1].lstrip('\\n') %}{% else %}"
        "{% set n.s = n.s + m.content|trim + '\\n' %}{% endif %}{% endfor %}{{ n.s }}"
        "{{ messages|tojson }}"
    )
    messages = [{"role": "user", "content": "é" * 2000 + "</think>x"}] * 100
    messages += [{"role": "user", "content": "é" * 2000}] * 100
    assert len(compiled(source, "x")(messages=messages)) > 600_000


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
