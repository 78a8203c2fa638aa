"""The figures of rows: all of them together, and the rows that went worst."""

from tunesmith.eval.figures import figures
from tunesmith.eval.predict import Predicted
from tunesmith.types import Call, Origin


def row(number, predict, label, *, finish="stop", calls=((), ())):
    return Predicted("p", predict, label, finish, Origin("d", "d.json", number, number), *calls)


def test_the_worst_rows_come_first_and_exact_ones_never():
    rows = [
        row(1, "a b c", "a b c"),
        row(2, "a b x", "a b c"),
        row(3, "x y \x1b[31m", "a b c", finish="length"),
        row(4, "a b c d", "a b c"),
    ]
    found = figures(rows)
    assert [one.origin.row for one, _ in found.worst] == [3, 2, 4]
    assert found.metrics["samples"] == 4
    assert found.metrics["cut_off"] == 1
    assert found.metrics["exact_match"] == 25
    text = "\n".join(found.lines())
    assert "d.json:3 (row 3)" in text
    assert "\x1b" not in text
    assert found.confusion is None
    assert found.picture("title") is None
    assert found.prefixed("eval")["eval_samples"] == 4
    assert figures(rows[:1]).lines() == []


def test_calls_and_labels_have_figures_of_their_own():
    call = (Call("f", "{}"),)
    rows = [row(i, "yes", ("yes", "no")[i % 2], calls=(call, call)) for i in range(6)]
    found = figures(rows)
    assert found.metrics["call"] == found.metrics["call_turn"] == 100
    assert found.metrics["macro_f1"] == found.confusion.macro_f1
    assert found.as_dict()["confusion"]["counts"] == [[0, 3, 0], [0, 3, 0]]
    assert found.lines()[0] == "answers by expected label:"
    assert found.picture("title").startswith(b"\x89PNG")
