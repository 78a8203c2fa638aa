"""The YAML of a template file: plain values, or one error with its place."""

from itertools import pairwise

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates.documents import documents


def test_every_document_is_read_as_plain_values():
    text = "name: a\nroles: {user: {open: [b, 1]}}\n---\n- true\n---\nnull\n"
    first = {"name": "a", "roles": {"user": {"open": ["b", 1]}}}
    assert documents(text, "f.yaml") == [first, [True], None]


@pytest.mark.parametrize(
    ("text", "where", "need"),
    [
        ("a: [\n", "f.yaml:2:1", "valid YAML"),
        ("a: \x01\n", "f.yaml", "valid YAML"),
        ("name: x\na: 1\na: 2\n", "f.yaml:3:1", "duplicate key"),
        ("name: x\n1: 2\n", "f.yaml: x", "keys that are words"),
        ("? [a, b]\n: 2\n", "f.yaml", "keys that are words"),
        ("name: x\nroles: {user: {null: a}}\n", "f.yaml: x.roles.user", "keys that are words"),
        ("a: !!set {b}\n", "f.yaml: a", "a text, number, list or mapping"),
        ('name: x\nsystem: "\\ud800"\n', "f.yaml: x.system", "lone surrogates"),
        ('stop_words: [a, "\\udc00 b"]\n', "f.yaml: stop_words.1", "lone surrogates"),
        ('"\\ud800": a\n', "f.yaml", "lone surrogates"),
        (f"a: {'[' * 21}{']' * 21}\n", "f.yaml", "nested at most 20 deep"),
        ("a: " + "[" * 20_000, "f.yaml", "nested at most 20 deep"),
        ("a: &a [*a]\n", "f.yaml", "nested at most 20 deep"),
    ],
)
def test_what_is_no_plain_value_is_one_error(text, where, need):
    with pytest.raises(TemplateError) as caught:
        documents(text, "f.yaml")
    assert caught.value.where == where
    assert need in caught.value.need


def test_aliases_of_aliases_do_not_multiply_without_end():
    names = "abcdefghijkl"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{one}: &{one} [{', '.join([f'*{below}'] * 10)}]" for below, one in pairwise(names)]
    with pytest.raises(TemplateError) as caught:
        documents("\n".join(lines), "f.yaml")
    assert "at most 100000 values" in caught.value.need


def test_two_escapes_of_one_character_are_that_character():
    assert documents('a: "\\ud83d\\ude00"\n', "f.yaml") == [{"a": "\U0001f600"}]
