"""Answers lie where the control tokens around them say, or only offsets can tell."""

import numpy as np
import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data.codec import Codec
from tunesmith.data.frame import Frame
from tunesmith.types import Span

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
    controls = codec.controls_in(ids)
    return ids, [(s.place(ids, controls), e.place(ids, controls)) for s, e in frame.anchors]


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
        [Span("User: "), words("q"), Span("Assistant: "), words("a", trained=True), Span(CLOSE)],
        [Span(f"{OPEN}a\n"), words("a", trained=True), Span("\n", trained=True)],
        [words("a", trained=True), Span(CLOSE, trained=True)],
    ],
)
def test_where_no_control_token_stands_only_offsets_can_tell(spans):
    assert Frame(spans, codec()).anchors is None


def test_words_take_the_places_of_other_words():
    spans = chat("x")
    frame = Frame(spans, codec())
    texts = frame.texts(["who", "me"])
    assert "".join(texts) == f"{OPEN}user\nwho{CLOSE}\n{OPEN}assistant\nme{CLOSE}\n"
    assert [s[1:] for s in frame.spans(texts)] == [s[1:] for s in spans]
