"""Elements of an array are found where a parser finds them, wherever the file is cut."""

import json
import random

import pytest

from tunesmith.data.sources import elements
from tunesmith.data.sources.elements import Unsound

NASTY = ["", '"', "\\", '\\"', "[", "]", "{", "}", ",", '",', "é😀", "\n", '\\\\"', "]," * 9, "[{"]


def value(rng, depth=0):
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind == 0:
        return rng.choice([None, True, 1, -2.5, 1e30])
    if kind < 4:
        return "".join(rng.choices(NASTY, k=rng.randrange(5)))
    if kind == 4:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {f"{i}{rng.choice(NASTY)}": value(rng, depth + 1) for i in range(rng.randrange(4))}


def cut(content, rng):
    while content:
        length = rng.randrange(1, 40)
        yield content[:length]
        content = content[length:]


@pytest.mark.parametrize("seed", range(40))
def test_elements_are_those_of_a_parser(seed, monkeypatch):
    rng = random.Random(seed)
    monkeypatch.setattr(elements, "_AT_ONCE", rng.randrange(1, 60))
    rows = [value(rng) for _ in range(rng.randrange(30))]
    text = json.dumps(rows, ensure_ascii=bool(seed % 2), indent=rng.choice([None, 1]))
    text = rng.choice(["", " \n", "\n\t"]) + text + rng.choice(["", "\n", "  "])
    content = text.encode()
    assert elements.count(cut(content, rng)) == len(rows)
    numbers = sorted(rng.sample(range(1, len(rows) + 1), rng.randrange(len(rows) + 1)))
    found = list(elements.some(cut(content, rng), numbers))
    assert [one.number for one in found] == numbers
    lines = text.split("\n")
    for one in found:
        assert json.loads(one.text) == rows[one.number - 1]
        rest = "\n".join([lines[one.line - 1][one.column - 1 :], *lines[one.line :]])
        assert rest.startswith(one.text)


@pytest.mark.parametrize("text", ["[1, 2", '["a, 1]', "[[1], 2", "", '[{"a": 1}, {"b"'])
def test_what_does_not_close_is_told(text):
    with pytest.raises(Unsound):
        elements.count([text.encode()])
    with pytest.raises(Unsound):
        list(elements.some([text.encode()], [3]))


def test_bytes_that_are_no_text_are_told():
    with pytest.raises(Unsound):
        list(elements.some([b'["a", "\xff"]'], [2]))
