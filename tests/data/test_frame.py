"""Answers lie where the control tokens around them say, or only offsets can tell."""

import random
from itertools import accumulate

import numpy as np
import pytest

from real_tokenizers import real
from template_cases import turns
from tiny_tokenizer import load_tiny
from tunesmith.data.codec import Codec
from tunesmith.data.frame import Frame
from tunesmith.templates import choose
from tunesmith.types import Conversation, Span

OPEN, CLOSE = "<|im_start|>", "<|im_end|>"


def words(text, trained=False):
    return Span(text, trained, control=False)


def chat(answer):
    return [
        Span(f"{OPEN}user\n"),
        words("hi"),
        Span(f"{CLOSE}\n{OPEN}assistant\n"),
        words(answer, trained=True),
        Span(CLOSE, trained=True),
        Span("\n"),
    ]


def codec():
    return Codec(load_tiny(), OPEN + CLOSE)


def places(frame, spans, codec):
    text = "".join(span.text for span in spans)
    ids = np.array(codec.backend.encode(text, add_special_tokens=False).ids, np.int32)
    return ids, frame.places(text, ids, codec.controls_in(ids))


def spelled(ids, codec):
    tokens = [codec.backend.id_to_token(number) for number in ids.tolist()]
    return "".join(tokens).replace("Ġ", " ")


def test_an_answer_lies_between_its_header_and_its_end():
    coder = codec()
    ids, [(start, end)] = places(Frame(chat("x"), coder), chat("hello there"), coder)
    assert spelled(ids[start:end], coder) == f"hello there{CLOSE}"


def test_a_header_that_runs_into_the_answer_gives_no_place():
    (start, _), *_ = Frame(chat("x"), codec()).anchors
    assert (start.control, start.length) == (2, len(start.tail) // 4)
    other = np.zeros(3 + start.length, np.int32)
    assert start.place(other, np.array([0, 1, 2])) is None


def test_an_answer_without_an_end_of_its_own_ends_before_the_next_control_token():
    coder = codec()
    spans = [Span(f"{OPEN}a\n"), words("b", trained=True), Span(f"{OPEN}c")]
    ids, [(start, end)] = places(Frame(spans, coder), spans, coder)
    assert spelled(ids[start:end], coder) == "b"


@pytest.mark.parametrize(
    "spans",
    [
        [Span("User: "), words("q"), Span(": "), words("a", trained=True), Span("End")],
        [Span("User: "), words("q"), Span("="), words("a", trained=True), Span(CLOSE)],
        [Span(f"{OPEN}a\n"), words("a", trained=True), Span("\n", trained=True)],
        [words("a", trained=True), Span(CLOSE, trained=True)],
    ],
)
def test_where_no_control_token_stands_only_offsets_can_tell(spans):
    assert Frame(spans, codec()).anchors is None


PLAIN = ["", "a", "b c\n", "  d", "é漢", "[", "]", "/", ":", "ASS", "INST", "\n\n", "#", "\u2581"]
MARKED = [*PLAIN, "[/INST]", "/INST]", "[/INST", " ASSISTANT:", "\n### Response:\n"]


@pytest.mark.parametrize("tokenizer", ["mistral_v1", "qwen3", "mistral_tekken"])
@pytest.mark.parametrize("template", ["mistral", "alpaca", "vicuna", "llama2"])
def test_an_answer_is_told_from_text_before_it_as_offsets_tell_it(template, tokenizer):
    loaded = real(tokenizer)
    renderer = choose(template, loaded)
    coder, chance = Codec(loaded, renderer.control_text()), random.Random(0)
    told = {True: 0, False: 0}
    for pieces in (PLAIN, MARKED):
        for _ in range(200):
            said = ["".join(chance.choices(pieces, k=chance.randrange(4))) for _ in range(4)]
            spans = renderer.render(Conversation(turns(*said)))
            encoding, found = told_by_ids(spans, coder)
            told[found is not None] += 1
            if found is not None:
                starts = [0, *accumulate(len(span.text) for span in spans)]
                frame = Frame(spans, coder)
                borders = [(starts[begin], starts[end]) for begin, end in frame.answers]
                assert found == [tuple(first(encoding, at) for at in pair) for pair in borders]
    assert told[True] > 50, "nothing was compared"


def told_by_ids(spans, coder):
    text = "".join(span.text for span in spans)
    encoding = coder.backend.encode(text, add_special_tokens=False)
    ids = np.array(encoding.ids, np.int32)
    return encoding, Frame(spans, coder).places(text, ids, coder.controls_in(ids))


def first(encoding, border):
    """The first token at or after a character, where none lies across."""
    assert not any(start < border < end for start, end in encoding.offsets)
    return sum(start < border for start, _ in encoding.offsets)


def test_words_that_hold_the_text_before_an_answer_leave_it_to_offsets():
    loaded = real("mistral_v1")
    renderer = choose("mistral", loaded)
    coder = Codec(loaded, renderer.control_text())
    for question, plain in (("q", True), ("q [/INST] a", False), ("x/INST]", False)):
        spans = renderer.render(Conversation(turns(question, "a")))
        assert (told_by_ids(spans, coder)[1] is not None) == plain


def test_words_take_the_places_of_other_words():
    spans = chat("x")
    frame = Frame(spans, codec())
    texts = frame.texts(["who", "me"])
    assert "".join(texts) == f"{OPEN}user\nwho{CLOSE}\n{OPEN}assistant\nme{CLOSE}\n"
    assert [s[1:] for s in frame.spans(texts)] == [s[1:] for s in spans]
