"""The ledger closes, and one error tells about all bad rows."""

import io
import json
import pickle

import pytest

from tunesmith.data.ledger import OVER_CUTOFF, Ledger, RowError, Skip
from tunesmith.errors import DataError
from tunesmith.types import Origin


def skip(row, reason="empty answer", file="a.json", got=""):
    fault = RowError.of(reason, "output", got=got, need="an answer", hint="write one")
    return Skip.of(fault, Origin("d", file, 10 * row, row))


def ledger(*skips, used=5):
    made = Ledger()
    for _ in range(used):
        made.read("a.json")
        made.use("a.json")
    for one in skips:
        made.read(one.origin.file)
        made.skip(one)
    return made


def test_read_is_used_and_skipped():
    made = ledger(skip(3), skip(4, OVER_CUTOFF), skip(1, file="b.json"))
    made.close()
    assert made.as_dict()["files"]["a.json"] == {
        "read": 7,
        "used": 5,
        "skipped": {
            reason: {"count": 1, "first": [skip(row, reason).as_dict()]}
            for row, reason in ((3, "empty answer"), (4, OVER_CUTOFF))
        },
    }
    again = Ledger.of(json.loads(json.dumps(made.as_dict())))
    assert (again.as_dict(), again.lines()) == (made.as_dict(), made.lines())
    assert made.lines()[:2] == [
        "a.json: 7 rows read = 5 used + 2 skipped",
        "  empty answer: 1 (a.json:30: output)",
    ]


@pytest.mark.parametrize("wrong", ["read", "use"])
def test_a_ledger_that_does_not_close_is_a_bug(wrong):
    made = ledger(skip(3))
    getattr(made, wrong)("a.json")
    with pytest.raises(AssertionError, match="does not close"):
        made.close()


def test_bad_rows_stop_the_run_unless_acknowledged():
    made = ledger(skip(3))
    with pytest.raises(DataError) as error:
        made.stop_on_bad_rows("error")
    assert str(error.value).splitlines() == [
        "a.json:30: output",
        "  got   ",
        "  need  an answer",
        "  try   write one",
        "        on_bad_row=skip on the command line goes on with the other 5 rows",
    ]
    made.stop_on_bad_rows("skip")


def test_rows_over_the_cutoff_do_not_stop_the_run():
    ledger(skip(3, OVER_CUTOFF)).stop_on_bad_rows("error")


def test_all_kinds_are_told_with_counts_and_three_places_each():
    skips = [skip(row) for row in range(2, 9)] + [skip(1, "wrong type", got=7)]
    with pytest.raises(DataError) as error:
        ledger(*skips).stop_on_bad_rows("error")
    text = str(error.value)
    assert error.value.where == "a.json:10: output"
    assert error.value.got == "8 of 13 rows that cannot be used"
    assert "empty answer: 7 rows" in text
    assert "wrong type: 1 row" in text
    assert text.count("a.json:20") == text.count("a.json:30") == text.count("a.json:40") == 1
    assert "a.json:50" not in text
    assert text.splitlines()[-1].strip() == (
        "on_bad_row=skip on the command line goes on with the other 5 rows"
    )


def test_the_last_line_is_the_command_that_goes_on_where_one_was_typed():
    for skips in ([skip(3)], [skip(3), skip(4, "wrong type")]):
        refusal = ledger(*skips).refusal("error")
        assert refusal is not None
        refusal.typed("tunesmith train a.yaml on_bad_row=skip", "tunesmith data clean a.yaml")
        assert str(refusal).splitlines()[-5:] == [
            "  try   write one",
            "        the other 5 rows and these, as files of their own:",
            "        tunesmith data clean a.yaml",
            "        or go on with the other 5 rows:",
            "        tunesmith train a.yaml on_bad_row=skip",
        ]


def test_skipping_is_not_offered_when_no_row_would_be_left():
    for skips in ([skip(1)], [skip(1), skip(2)]):
        with pytest.raises(DataError) as error:
            ledger(*skips, used=0).stop_on_bad_rows("error")
        assert "on_bad_row" not in str(error.value)


def test_a_row_error_survives_a_worker_process():
    fault = RowError.of("wrong type", "output", got=7, need="text", hint="quotes")
    copy = pickle.loads(pickle.dumps(fault))
    assert (copy.reason, str(copy)) == ("wrong type", str(fault))


def test_every_skipped_row_is_written_down_and_the_first_are_remembered():
    journal = io.StringIO()
    made = Ledger(journal)
    for row in range(1, 301):
        made.read("a.json")
        made.skip(skip(row))
    made.close()
    written = [json.loads(line)["place"] for line in journal.getvalue().splitlines()]
    assert written == [f"a.json:{10 * row}: output" for row in range(1, 301)]
    found = made.skips()["empty answer"]
    assert (found.count, len(found.first), made.bad) == (300, 100, 300)
    with pytest.raises(DataError, match="empty answer: 300 rows"):
        made.stop_on_bad_rows("error")
