"""How near texts are to the texts that were expected: BLEU, ROUGE, exact match.

Words are runs of letters and digits, without case; of Chinese and Japanese each character is a
word, so that nothing has to guess where words end. All figures are percentages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_CHARACTER = re.compile(rf"[{_HAN}]")
NAMES = ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "bleu", "exact_match")
"""Figures of a set of texts."""


class Pair(NamedTuple):
    """What was said and what was expected."""

    predict: str
    label: str

    @property
    def same(self) -> bool:
        """Equal but for white space around them."""
        return self.predict.strip() == self.label.strip()


class Scores(NamedTuple):
    """Figures of a set of texts, and of each."""

    means: dict[str, float]
    rouge_l: list[float]
    """Of each pair."""
    signature: str
    """How BLEU was computed, in the words of sacrebleu."""


def libraries() -> tuple[Any, Any, Any]:
    """sacrebleu, rouge_score.rouge_scorer and nltk.translate.bleu_score.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        import sacrebleu
        from nltk.translate import bleu_score
        from rouge_score import rouge_scorer
    except ImportError as error:
        raise ConfigError(
            "metrics",
            need=f"{error.name}, which is not installed",
            hint='pip install "tunesmith[metrics]"',
        ) from None
    return sacrebleu, rouge_scorer, bleu_score


def words(text: str) -> list[str]:
    """What ROUGE counts; of a text without any word its characters."""
    return _WORD.findall(text.casefold()) or [c for c in text if not c.isspace()]


class _Words:
    """As rouge_score wants it."""

    def tokenize(self, text: str) -> list[str]:
        """See `words`."""
        return words(text)


def scores(pairs: Sequence[Pair]) -> Scores:
    """All figures.

    `bleu-4` is the mean over texts of BLEU over characters with smoothing (Chen and Cherry 2014,
    method 3), `rouge-*` means of F1 (Lin 2004), `bleu` the BLEU of the whole set in sacrebleu's
    default form, with its tokens for Chinese where an expected text has Chinese in it. A text
    that equals the expected one has 100 in each; of an empty one beside another, all are 0.

    Raises:
        ConfigError: the libraries are not installed.
    """
    sacrebleu, rouge_scorer, bleu_score = libraries()
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())
    smoothing = bleu_score.SmoothingFunction().method3
    found: dict[str, list[float]] = {name: [] for name in NAMES if name != "bleu"}
    for pair in pairs:
        exact = 100.0 * pair.same
        rouge = scorer.score(pair.label, pair.predict)
        by_character = 0.0
        if pair.predict and pair.label:
            sides = [list(pair.label)], list(pair.predict)
            by_character = 100.0 * bleu_score.sentence_bleu(*sides, smoothing_function=smoothing)
        # too short for two words, or for n-grams of four characters: equal all the same
        found["bleu-4"].append(max(exact, by_character))
        for name, key in (("rouge-1", "rouge1"), ("rouge-2", "rouge2"), ("rouge-l", "rougeL")):
            found[name].append(max(exact, 100.0 * rouge[key].fmeasure))
        found["exact_match"].append(exact)
    chinese = any(_CHARACTER.search(pair.label) for pair in pairs)
    metric = sacrebleu.BLEU(tokenize="zh" if chinese else "13a")
    whole = metric.corpus_score([p.predict for p in pairs], [[p.label for p in pairs]])
    means = {name: sum(values) / len(values) for name, values in found.items()}
    means["bleu"] = float(whole.score)
    rounded = {name: round(means[name], 4) for name in NAMES}
    return Scores(rounded, found["rouge-l"], str(metric.get_signature()))
