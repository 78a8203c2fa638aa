"""What is cut stands where it was: what is kept is the example, all of it is the whole row."""

import numpy as np
import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import tokenize
from tunesmith.data.fit import fit
from tunesmith.data.uncut import Gap, Uncut, gap
from tunesmith.templates import choose
from tunesmith.types import Conversation, Message

TINY = load_tiny()
TEMPLATES = ["chatml", "llama2", "llama3", "qwen3", "mistral", "alpaca"]


@pytest.mark.parametrize(
    ("longer", "shorter", "near", "found"),
    [
        ("abcdef", "abef", None, Gap(2, 4, 2)),
        ("abcdef", "def", None, Gap(0, 3, 0)),
        ("abcdef", "abc", None, Gap(3, 6, 3)),
        ("XabYabYabZ", "XabYabZ", None, Gap(6, 9, 6)),
        ("XabYabYabZ", "XabYabZ", 1, Gap(1, 4, 1)),
        ("XabYabYabZ", "XabYabZ", 0, Gap(1, 4, 1)),
        ("abcdef", "abxef", None, Gap(2, 4, 2, 1)),
        ("aab", "ab", None, Gap(1, 2, 1)),
        ("aa", "axxa", None, Gap(1, 1, 1, 2)),
    ],
)
def test_a_gap_is_what_a_list_lacks(longer, shorter, near, found):
    one, other = [ord(c) for c in longer], [ord(c) for c in shorter]
    assert gap(one, other, near) == found
    start, end, at, instead = found
    assert [*one[:start], *other[at : at + instead], *one[end:]] == other


def laid(conversation, cutoff_len, policy, template="chatml"):
    encoder = tokenize.encoder(choose(template, TINY), TINY)
    (whole,) = encoder.encode([conversation])
    fitted = fit(
        conversation,
        whole,
        cutoff_len=cutoff_len,
        policy=policy,
        encode=encoder.encode,
        backend=TINY.backend,
    )
    return whole, fitted, Uncut(encoder, policy).beside(conversation, whole.trained, fitted)


def chat(*words, system=None):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(words))
    return Conversation(messages, system)


def text(found, **wanted):
    return "".join(t.text for t in found if all(getattr(t, k) == v for k, v in wanted.items()))


@pytest.mark.parametrize("policy", ["keep_end", "keep_start"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_at_every_cutoff_what_is_kept_is_the_example(template, policy):
    one = chat("ask one", "say one", "ask two two two two", "say two", "ask three", "say")
    count = len(tokenize.encoder(choose(template, TINY), TINY).encode([one])[0].ids)
    kinds = set()
    for cutoff_len in range(8, count + 2):
        whole, fitted, found = laid(one, cutoff_len, policy, template)
        kept = [token for token in found if not token.cut]
        if fitted.encoded is None:
            assert (kept, [t.id for t in found]) == ([], whole.ids.tolist())
            continue
        assert [token.id for token in kept] == fitted.encoded.ids.tolist()
        assert [token.trained for token in kept] == fitted.encoded.trained.tolist()
        assert len(found) >= len(whole.ids)
        kinds.add((fitted.num_dropped > 0, fitted.question_cut))
    assert (True, False) in kinds
    assert (False, False) in kinds


def test_the_turns_that_are_cut_are_whole_turns():
    one = chat("ask one", "say one", "ask two", "say two", system="S")
    whole, fitted, found = laid(one, 40, "keep_end")
    assert fitted.num_dropped == 2
    assert text(found) == text(Uncut_of(one))
    cut = text(found, cut=True)
    assert "ask one" in cut
    assert "say one" in cut
    assert "two" not in cut
    assert cut.strip().startswith("<|im_start|>user")
    assert text(found, cut=False) == text(found).replace(cut, "")
    _, fitted, found = laid(one, 40, "keep_start")
    assert fitted.num_dropped == 2
    assert "ask two" in text(found, cut=True)
    assert "one" not in text(found, cut=True)
    assert len(whole.ids) == len(found)


def Uncut_of(conversation):
    encoder = tokenize.encoder(choose("chatml", TINY), TINY)
    return Uncut(encoder, "drop").tokens(conversation, np.zeros(0, bool))


def test_words_of_a_question_are_cut_where_they_stood():
    words = " ".join(f"w{i}" for i in range(40))
    one = chat("first question", "first answer", f"BEGIN {words} END", "x")
    _, fitted, found = laid(one, 60, "keep_end")
    assert fitted.question_cut
    assert fitted.num_dropped == 2
    cut = text(found, cut=True)
    assert "first answer" in cut
    assert "BEGIN" in cut
    assert text(found, cut=False).endswith("END<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n")
    shown = text(found)
    assert shown.index("first answer") < shown.index("BEGIN") < shown.index("END")
    _, fitted, found = laid(chat(f"BEGIN {words} END", "x"), 60, "keep_start")
    assert fitted.question_cut
    assert "END" in text(found, cut=True)
    assert "BEGIN" in text(found, cut=False)


@pytest.mark.parametrize("policy", ["keep_end", "keep_start"])
def test_of_equal_words_those_at_the_side_that_is_cut_are_cut(policy):
    _, fitted, found = laid(chat("x" + " x" * 80, "say"), 60, policy)
    assert fitted.question_cut
    words = [token.cut for token in found if not token.control and not token.trained]
    count = sum(words)
    ends = [True] * count + [False] * (len(words) - count)
    assert words == (ends if policy == "keep_end" else ends[::-1])


@pytest.mark.parametrize("cutoff_len", range(40, 70))
def test_turns_are_cut_in_front_of_a_question_that_is_cut_too(cutoff_len):
    words = " ".join(f"w{i} 你{i}" for i in range(40))
    one = chat("first question", "first answer", f"BEGIN {words} END", "x", system="S")
    _, fitted, found = laid(one, cutoff_len, "keep_end")
    assert fitted.question_cut
    assert fitted.num_dropped == 2
    whole, shown = text(Uncut_of(one)), text(found)
    until = whole.index("BEGIN") + len("BEGIN")
    assert shown[:until] == whole[:until]
    kept = text(found, cut=False)
    assert kept.startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n")
    first = next(i for i, token in enumerate(found) if token.cut)
    assert "".join(token.text for token in found[first:]).startswith("<|im_start|>user\nfirst q")


def test_a_row_that_fits_has_nothing_cut_and_one_that_does_not_has_all():
    one = chat("ask", "say")
    _, _, found = laid(one, 2048, "keep_end")
    assert not any(token.cut for token in found)
    _, fitted, found = laid(one, 5, "keep_end")
    assert fitted.encoded is None
    assert {token.kind for token in found} == {"cut"}
    assert any(token.trained for token in found), "what would have been learned is known"


def test_a_token_is_of_one_kind():
    _, _, found = laid(chat("ask", "say"), 2048, "drop")
    kinds = {"".join(t.text for t in found if t.kind == kind) for kind in ("context", "trained")}
    assert kinds == {"ask", "say<|im_end|>"}
