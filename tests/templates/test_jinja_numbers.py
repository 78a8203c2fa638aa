"""Numbers of the data in a template's hands: they compute, and print as they were written."""

import pytest

from tunesmith.templates import calls
from tunesmith.templates.jinja_numbers import dumps, native
from tunesmith.templates.sandbox import compiled

ODD = ["1.50", "12345678901234567890.0", "1e400", "1E5", "1e-400", "-0", "-1.0e-7", "9" * 9000]


@pytest.mark.parametrize("text", ODD)
def test_a_number_prints_as_it_was_written(text):
    value = native(calls.loads(f'{{"a": [{text}, 3], "b": 0.5}}'))
    assert dumps(value) == f'{{"a": [{text}, 3], "b": 0.5}}'
    assert dumps(value, separators=(",", ":")) == f'{{"a":[{text},3],"b":0.5}}'
    source = "{{ v | tojson }} {{ v.a[0] }} {{ v.a[0] | string }} {{ v.a[0] is number }}"
    assert compiled(source, "x")(v=value) == f'{{"a": [{text}, 3], "b": 0.5}} {text} {text} True'


def test_numbers_are_still_numbers():
    value = native(calls.loads('["1.50", 1.50, -0, 1e400]'))
    source = "{{ v[1] + 1 }} {{ v[2] is integer }} {{ v[1] is float }} {{ v[1] < v[3] }}"
    assert compiled(source, "x")(v=value) == "2.5 True True True"
    digits = "-" + "1234567890" * 900
    (number,) = native(calls.loads(f"[{digits}]"))
    assert number % 10**9 == -int("1" + "234567890") % 10**9
