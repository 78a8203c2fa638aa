"""Text arrives whole: no half characters, no stop words, and joined it is the decoded answer."""

from pathlib import Path

import pytest
import tokenizers

from tiny_tokenizer import load_tiny
from tunesmith.infer.stream import TextStream, left_out

TEXTS = (
    "Hello world, this is  a test.\n\n  indented\ttabs",
    "你好，世界！日本語と한국어",
    "😀👩‍👩‍👧 naïve café e\u0301 ½ — “quotes”",
    " leading space and trailing ",
    "def f(x):\n    return x\n",
    "a\ufffdb",
    "",
)
SHARED = Path(__file__).parents[3] / "shared" / "tokenizers"


def _stream(backend, text, stop_words=()):
    stream = TextStream(backend, stop_words)
    pieces = []
    for token_id in backend.encode(text, add_special_tokens=False).ids:
        piece = stream.push(token_id)
        pieces.append(piece.text)
        if piece.stopped:
            return pieces, stream, True
    last = stream.finish()
    return [*pieces, last.text], stream, last.stopped


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_are_the_text_and_none_is_broken(text):
    backend = load_tiny().backend
    pieces, stream, stopped = _stream(backend, text)
    assert "".join(pieces) == stream.text == text
    assert not stopped
    if "\ufffd" not in text:
        assert not [piece for piece in pieces if "\ufffd" in piece]


@pytest.mark.parametrize(
    "name",
    ["smollm2", "qwen3", "deepseek_v3", "llama3_1", "mistral_v1", "mistral_tekken", "gemma3"],
)
def test_pieces_of_real_tokenizers_joined_are_their_decoding(name):
    path = SHARED / name / "tokenizer.json"
    if not path.exists():
        pytest.skip("real tokenizers are not beside the checkout")
    backend = tokenizers.Tokenizer.from_file(str(path))
    for text in TEXTS:
        pieces, _, _ = _stream(backend, text)
        ids = backend.encode(text, add_special_tokens=False).ids
        assert "".join(pieces) == backend.decode(ids, skip_special_tokens=True)


def test_a_character_of_several_tokens_comes_in_one_piece():
    backend = load_tiny().backend
    assert len(backend.encode("😀").ids) > 1
    pieces, _, _ = _stream(backend, "a😀b")
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]


def test_a_character_that_never_becomes_whole_is_given_out_at_the_end():
    backend = load_tiny().backend
    stream = TextStream(backend)
    ids = backend.encode("ok😀").ids[:-1]
    shown = "".join(stream.push(i).text for i in ids)
    assert shown == "ok"
    assert stream.finish().text.startswith("\ufffd")


def test_special_tokens_of_marks_are_text_and_no_others():
    backend = load_tiny().backend
    assert left_out(backend, ("<think>\n", "\n</think>")) is None  # added, but not special
    skipped = left_out(backend, ("<|im_start|>thought\n",))
    stream = TextStream(backend, skipped=skipped)
    text = "<|im_start|>thought\n你<|im_end|>好 <|endoftext|>so"
    ids = backend.encode(text, add_special_tokens=False).ids
    pieces = [stream.push(i).text for i in ids] + [stream.finish().text]
    assert "".join(pieces) == stream.text == "<|im_start|>thought\n你好 so"


def test_special_tokens_are_not_text():
    tokenizer = load_tiny()
    stream = TextStream(tokenizer.backend)
    ids = [*tokenizer.backend.encode("hi").ids, tokenizer.id_of("<|endoftext|>")]
    assert "".join(stream.push(i).text for i in ids) + stream.finish().text == "hi"


@pytest.mark.parametrize("word", ["\nUser:", "User", "###"])
def test_a_stop_word_ends_the_answer_and_no_piece_of_it_is_shown(word):
    text = f"The answer is here.{word} more"
    pieces, stream, stopped = _stream(load_tiny().backend, text, (word,))
    assert stopped
    assert stream.text == "".join(pieces) == "The answer is here."


def test_the_beginning_of_a_stop_word_is_only_held_back():
    pieces, stream, stopped = _stream(load_tiny().backend, "C## and \nUs", ("###", "\nUser:"))
    assert not stopped
    assert "".join(pieces) == stream.text == "C## and \nUs"


def test_the_first_of_two_stop_words_counts():
    _, stream, stopped = _stream(load_tiny().backend, "one STOP two END", ("END", "STOP"))
    assert stopped
    assert stream.text == "one "
