"""Few short labels make a table; anything else does not."""

import io

import pytest
from matplotlib.image import imread

from tunesmith.eval.confusion import confusion, draw
from tunesmith.eval.text_scores import Pair

PAIRS = [
    *[Pair("yes", "yes")] * 5,
    *[Pair("no", "yes")] * 2,
    Pair("perhaps", "yes"),
    *[Pair("no ", "no")] * 3,
    Pair("yes", "no"),
]


def test_counts_and_scores_by_hand():
    found = confusion(PAIRS)
    assert found.labels == ("yes", "no")
    assert found.counts == ((5, 2, 1), (1, 3, 0))
    yes, no = found.scores["yes"], found.scores["no"]
    assert yes["precision"] == pytest.approx(100 * 5 / 6, abs=1e-4)
    assert yes["recall"] == pytest.approx(100 * 5 / 8, abs=1e-4)
    assert yes["f1"] == pytest.approx(100 * 10 / 14, abs=1e-4)
    assert no["f1"] == pytest.approx(100 * 6 / 9, abs=1e-4)
    assert found.macro_f1 == pytest.approx((yes["f1"] + no["f1"]) / 2, abs=1e-3)


def test_the_table_has_a_row_for_each_label():
    head, yes, no = confusion(PAIRS).lines()
    assert head.split() == ["expected", "1", "2", "other", "recall"]
    assert yes.split() == ["1", "yes", "5", "2", "1", "62.5"]
    assert no.split() == ["2", "no", "1", "3", "0", "75.0"]
    assert len({len(line) for line in (head, yes, no)}) == 1


@pytest.mark.parametrize(
    "pairs",
    [
        [Pair("a", "a")] * 9,  # one label
        [Pair("x", str(i)) for i in range(9)],  # every row its own
        [Pair("x", str(i % 21)) for i in range(99)],  # too many
        [Pair("x", ("a", "b" * 41)[i % 2]) for i in range(9)],  # prose
    ],
)
def test_other_answers_are_no_labels(pairs):
    assert confusion(pairs) is None


def test_the_picture_is_drawn_also_with_labels_that_the_font_does_not_have():
    pairs = [*PAIRS, *[Pair("是", "是")] * 2, *[Pair("\x1b[31m$a_1$", "\x1b[31m$a_1$")] * 2]
    image = imread(io.BytesIO(draw(confusion(pairs), "title")))
    assert image.shape[0] > 300
    assert image.shape[1] > 400
