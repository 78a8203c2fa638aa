"""What is printed before a run: what matters first, wrapped between words, nothing lost."""

import pytest

from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.training import run as training
from tunesmith.training.block import row_text
from tunesmith.training.report import Silent


def test_a_row_is_wrapped_between_words_below_its_own_column():
    words = [f"word{i}" for i in range(40)]
    shown = row_text("note", " ".join(words), 79).splitlines()
    assert len(shown) > 2
    assert max(map(len, shown)) <= 79
    assert shown[0].startswith("  note              word0")
    assert all(text[:20].strip() == "" and text[20] != " " for text in shown[1:])
    assert " ".join(shown).split() == ["note", *words]
    assert row_text("note", " ".join(words), None).count("\n") == 0


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tiny_run(tmp_path_factory.mktemp("block"), val_size=0.25, price_per_hour=2.5)
    return training.plan(load(path, ()), Silent(), device="h100")[0]


def test_what_a_run_takes_comes_before_how_it_is_done(plan):
    names = [line[2:19].strip() for line in plan.text().split("\n")]
    order = ["model", "steps", "time", "memory", "disk", "cost", "examples", "total batch"]
    places = [names.index(name) for name in [*order, "precision"]]
    assert places == sorted(places)
    assert names.index("cost") < 20


@pytest.mark.parametrize("width", [60, 79, 119])
def test_no_word_is_broken_and_no_line_too_long_for_its_terminal(plan, width):
    whole, shown = plan.text(), plan.text(width)
    assert shown.split() == whole.split()
    for line in shown.split("\n"):
        assert len(line) <= width or len(line.split()) <= 2  # a word that is longer: a path
        assert not line or line[:2] == "  "
        assert len(line) <= 20 or line[19] == " "


def test_a_pipe_gets_one_line_for_each_row(plan):
    groups = plan.text().split("\n\n")
    assert len(groups) >= 5
    for line in (line for group in groups for line in group.split("\n")):
        assert line[20] != " "
