"""PaliGemma, as stock transformers has it: one question, one answer, pictures first."""

import numpy as np
import pytest

from like_stock import check
from tunesmith.data.batches import join
from tunesmith.data.ledger import RowError
from tunesmith.types import Example, Media, Origin, Span


def test_like_stock(tmp_path):
    check(tmp_path, "paligemma")


def test_pictures_first_and_several_answers_refused(tmp_path):
    family = check(tmp_path, "paligemma").family
    spans = [Span("a"), Span("<image>", medium=0), Span("b")]
    assert [span.text for span in family.arranged(spans)] == ["<image>", "a", "b"]
    ids, learned = np.arange(8, dtype=np.int32), np.array([0, 0, 1, 0, 0, 1, 1, 0], bool)
    example = Example(ids, learned, Origin("d", "f", 1, 1), (Media("image", "x"),))
    with pytest.raises(RowError, match="one question and its answer"):
        family.beside(join([example], [0]))
