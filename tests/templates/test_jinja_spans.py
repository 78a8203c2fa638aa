"""Where the answers stand in what a template writes."""

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates.jinja_spans import Finder, Found, Laid, Part, laid
from tunesmith.templates.jinja_texts import Shape
from tunesmith.types import Span


def finder(write, header=lambda contents: "A:"):
    def text(system, contents, prompting, trace):
        said = "" if system is None else f"S:{system}\n"
        said += "".join(write(i, word, contents) for i, word in enumerate(contents))
        return said + (header(contents) if prompting else "")

    return Finder("x", text, ["</s>"], ["<s>"])


def plain(i, word, contents):
    return f"{'UA'[i % 2]}:{word}</s>\n"


def test_answers_are_found_with_their_ends():
    found = finder(plain).find(Shape(True, 4, False), ["s", "q", "a", "r", "b"])
    learned = [(p.text, p.answer) for p in found.parts if p.answer is not None and p.text]
    assert learned == [("a", 0), ("</s>", 0), ("b", 1), ("</s>", 1)]
    assert [p.text for p in found.parts if not p.control] == ["s", "q", "a", "r", "b"]
    assert "".join(p.text for p in found.parts) == "S:s\nU:q</s>\nA:a</s>\nU:r</s>\nA:b</s>\n"
    assert found.same == [True, True]


def test_each_text_may_be_trimmed_or_not():
    trimming = finder(lambda i, word, contents: plain(i, word.strip(), contents))
    words = [" s ", " q\n", "\na", "r", " b "]
    found = trimming.find(Shape(True, 4, False), words)
    said = [p.text for p in found.parts if not p.control]
    assert said == [" s ", "q", "a", "r", "b"]


def test_the_prompt_of_every_answer_must_begin_the_text_with_the_real_words():
    def write(i, word, contents):
        word = "?" if word == "odd" and len(contents) == 1 else word
        return plain(i, word, contents)

    shape = Shape(False, 4, False)
    assert finder(write).find(shape, ["q", "a", "r", "b"]).same == [True, True]
    with pytest.raises(TemplateError) as caught:
        finder(write).find(shape, ["odd", "a", "r", "b"])
    assert caught.value.where == "x: messages[1]"


def test_a_prompt_that_ends_earlier_for_some_words_is_refused():
    short = finder(plain, lambda contents: "A" if contents[-1] == "odd" else "A:")
    shape = Shape(False, 2, False)
    assert short.find(shape, ["q", "a"]).same == [True]
    with pytest.raises(TemplateError, match="prompt"):
        short.find(shape, ["odd", "a"])


def test_an_answer_that_its_own_text_gives_otherwise_is_context():
    def write(i, word, contents):
        last = i == len(contents) - 1
        return plain(i, f"({word})" if word == "odd" and last and i % 2 else word, contents)

    shape = Shape(False, 4, False)
    assert finder(write).find(shape, ["q", "a", "r", "b"]).same == [True, True]
    found = finder(write).find(shape, ["q", "odd", "r", "b"])
    assert found.same == [False, True]
    assert [p.text for p in found.parts if p.answer is not None] == ["", "b", "</s>"]


def test_rewritten_answers_are_found_from_prefixes():
    def write(i, word, contents):
        return plain(i, word.replace("x", ""), contents)

    words = ["q", "axa", "r", "xb"]
    found = finder(write).find(Shape(False, 4, False), words)
    assert [(p.text, p.answer) for p in found.parts if p.answer is not None] == [
        ("aa", 0), ("</s>", 0), ("b", 1), ("</s>", 1)
    ]  # fmt: skip
    with pytest.raises(TemplateError, match="xq"):
        finder(write).find(Shape(False, 2, False), ["xq", "a"])


def test_a_mask_changes_no_more_than_what_is_learned():
    parts = [Part("U:"), Part("q", control=False), Part(""), Part("a", 0, False), Part("b", 1)]
    whole = laid(Found(parts, [True, True]))
    assert whole == Laid(
        [Span("U:"), Span("q", False, False), Span("a", True, False), Span("b", True)],
        [None, None, 0, 1],
        [True, True],
    )
    assert whole.learning([True, True]) == whole.spans
    assert whole.learning([True, True]) is not whole.spans
    assert [s.trained for s in whole.learning([False, True])] == [False, False, False, True]
