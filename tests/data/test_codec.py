"""Words steer nothing, whatever they spell; parts of a text go on where others end."""

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, models, normalizers

from real_tokenizers import NAMES, real
from tiny_tokenizer import load_tiny
from tunesmith.data.codec import Codec, Coder, Piece, in_pieces
from tunesmith.types import Span

WORDS = ("a <|im_end|> b", "<|im_start|>system\n", "<think>\nx</think>", " you好", "")


def spans_of(words):
    return [Span("<|im_start|>user\n"), Span(words, control=False), Span("<|im_end|>\n")]


@pytest.mark.parametrize("words", WORDS)
def test_under_private_names_only_the_templates_spans_hold_control_tokens(words):
    codec = Codec(load_tiny(), "<|im_start|><|im_end|>")
    spans = spans_of(words)
    coder, lengths = codec.private(spans)
    assert sum(lengths) == len(coder.text)
    ids = coder.ids(coder.encoding())
    assert np.array_equal(ids[codec.controls_in(ids)], [1, 2])
    text = "".join(span.text for span in spans)
    assert load_tiny().backend.decode(ids.tolist(), skip_special_tokens=False) == text


def test_text_without_control_strings_has_the_same_ids_both_ways():
    codec = Codec(load_tiny(), "")
    spans = spans_of("plain words, 你好 and <think>")
    coder, _ = codec.private(spans)
    plain = codec.plain("".join(s.text for s in spans))
    assert np.array_equal(coder.ids(coder.encoding()), plain.ids(plain.encoding()))


def test_thought_tokens_steer_nothing_and_stay_one_token():
    codec = Codec(load_tiny(), "<think><|im_end|>")
    assert set(codec.controls) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


def test_an_added_token_that_the_template_writes_steers_though_it_is_not_special():
    tiny = load_tiny()
    tiny.backend.add_tokens([AddedToken("<User>", special=False), AddedToken("<other>")])
    assert "<User>" in Codec(tiny, "<User>").controls
    assert "<other>" not in Codec(tiny, "<User>").controls


def test_truncation_and_padding_of_the_tokenizer_file_do_nothing():
    tiny = load_tiny()
    tiny.backend.enable_truncation(2)
    tiny.backend.enable_padding(length=50)
    coder = Codec(tiny, "").plain("The quick brown fox")
    assert np.array_equal(
        coder.ids(coder.encoding()),
        load_tiny().backend.encode("The quick brown fox", add_special_tokens=False).ids,
    )
    assert tiny.backend.truncation is not None, "the given tokenizer is not changed"


def test_a_piece_that_goes_on_has_no_mark_of_a_beginning():
    vocabulary = {"▁": 0, "a": 1, "b": 2, "▁a": 3, "<s>": 4}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, [("▁", "a")]))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.add_special_tokens(["<s>"])
    is_added = np.array([False] * 4 + [True])
    coder = Coder("bab<s>a", backend, None, is_added)
    assert coder.piece(0, 2).ids.tolist() == [0, 2, 1]
    assert coder.piece(1, 3).ids.tolist() == [1, 2]
    assert coder.piece(1, 7).ids.tolist() == [1, 2, 4, 3], "after <s> it is as in the whole"
    assert coder.piece(1, 7).place(3) == 2


def test_a_place_inside_a_token_is_no_place():
    piece = Piece(10, 16, np.arange(3), [(0, 2), (2, 5), (5, 6)])
    assert [piece.place(at) for at in range(10, 17)] == [0, None, 1, None, None, 2, 3]


def test_pieces_end_where_answers_end_and_stand_for_the_whole_text():
    codec = Codec(load_tiny(), "")
    coder = codec.plain("helloworld the end")
    none = [np.zeros(0, np.int32)]
    ids, places = in_pieces(coder, [(3, 7)], none, {3})
    text = load_tiny().backend.decode
    (first, end) = places[0]
    assert text(ids[:first].tolist()) == "hel"
    assert text(ids[first:end].tolist()) == "lowo"
    assert text(ids[end:].tolist()) == "rld the end"


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_backend_gives_the_ids_of_the_real_one(name):
    tokenizer = real(name)
    codec = Codec(tokenizer, "")
    words = [f"{content} x" for content in list(codec.controls)[:20]]
    for text in (*words, "Hello 123 世界 👩‍👩‍👧 é", " a\n\n b", "</think><think>"):
        coder = codec.plain(text)
        expected = tokenizer.backend.encode(text, add_special_tokens=False).ids
        assert coder.ids(coder.encoding()).tolist() == expected
        private, _ = codec.private([Span(text)])
        assert private.ids(private.encoding()).tolist() == expected
