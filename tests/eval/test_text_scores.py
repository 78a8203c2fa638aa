"""Figures by hand, and against the libraries that others compute them with."""

import random
import sys

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from tunesmith.errors import ConfigError
from tunesmith.eval.text_scores import NAMES, Pair, scores, words


def of(predict, label):
    return scores([Pair(predict, label)]).means


def test_rouge_by_hand():
    # label: a b c d e; answer: a c d x. unigrams 3 of 5 and of 4, bigrams 1 of 4 and of 3
    found = of("a c d x", "a b c d e")
    assert found["rouge-1"] == pytest.approx(100 * 2 * 3 / (5 + 4), abs=1e-4)
    assert found["rouge-2"] == pytest.approx(100 * 2 * 1 / (4 + 3), abs=1e-4)
    assert found["rouge-l"] == pytest.approx(100 * 2 * 3 / (5 + 4), abs=1e-4)  # a c d
    assert found["exact_match"] == 0


def test_rouge_of_chinese_counts_characters():
    # 今天天气好 and 今天很好: common 今 天 好; longest in order 今 天 好
    found = of("今天很好", "今天天气好")
    assert found["rouge-1"] == pytest.approx(100 * 2 * 3 / (4 + 5), abs=1e-4)
    assert found["rouge-l"] == pytest.approx(100 * 2 * 3 / (4 + 5), abs=1e-4)
    assert found["rouge-2"] == pytest.approx(100 * 2 * 1 / (3 + 4), abs=1e-4)  # 今天
    assert words("Qwen3 很好,OK!") == ["qwen3", "很", "好", "ok"]
    assert words("?!") == ["?", "!"]


def test_bleu_by_hand():
    # characters abcdX against abcde: precisions 4/5, 3/4, 2/3, 1/2; equal lengths
    product = (4 / 5) * (3 / 4) * (2 / 3) * (1 / 2)
    assert of("abcdX", "abcde")["bleu-4"] == pytest.approx(100 * product**0.25, abs=1e-4)
    # words: "a b c d x" against "a b c d e", the same precisions
    assert of("a b c d x", "a b c d e")["bleu"] == pytest.approx(100 * product**0.25, abs=1e-4)


def test_equal_texts_have_everything_and_nothing_has_nothing():
    for text in ("yes", "42", "是", "?!", "a long enough answer, with a comma"):
        found = of(text, f" {text}\n")
        assert [found[n] for n in NAMES if n != "bleu"] == [100.0] * 5
    empty = of("", "something here")
    assert set(empty.values()) == {0.0}
    assert of("", "")["exact_match"] == 100


def test_figures_of_a_set_are_means_and_its_bleu_is_of_the_whole():
    pairs = [Pair("a b c d", "a b c d"), Pair("x", "a b c d e")]
    found = scores(pairs)
    alone = [scores([pair]).means for pair in pairs]
    for name in NAMES[:4]:
        assert found.means[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2, abs=1e-4)
    assert found.means["exact_match"] == 50
    assert found.rouge_l == [100.0, 0.0]
    assert "tok:13a" in found.signature
    assert "tok:zh" in scores([Pair("好", "好的")]).signature


def test_on_english_words_the_figures_are_those_of_the_libraries():
    draw = random.Random(0)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])  # its own words: lower case, a-z, 0-9
    for _ in range(60):
        one, other = (
            " ".join(
                draw.choices(["the", "cat", "sat", "on", "a", "Dog", "7"], k=draw.randint(2, 12))
            )
            for _ in range(2)
        )
        found, known = of(one, other), scorer.score(other, one)
        if one == other:
            continue
        for name, key in (("rouge-1", "rouge1"), ("rouge-2", "rouge2"), ("rouge-l", "rougeL")):
            assert found[name] == pytest.approx(100 * known[key].fmeasure, abs=1e-4)
        smooth = SmoothingFunction().method3
        bleu = sentence_bleu([list(other)], list(one), smoothing_function=smooth)
        assert found["bleu-4"] == pytest.approx(100 * bleu, abs=1e-4)


def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError) as caught:
        scores([Pair("a", "b")])
    assert "sacrebleu" in caught.value.need
    assert "tunesmith[metrics]" in caught.value.hint
