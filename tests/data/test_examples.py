"""Each row becomes one example or one line of the ledger, and what was cut is counted."""

from collections import Counter

import numpy as np
import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data.examples import Fitting, Maker, Said, enough_for
from tunesmith.data.ledger import OVER_CUTOFF, Ledger
from tunesmith.data.token_store import Counts
from tunesmith.data.tokenize import Encoded
from tunesmith.errors import TemplateError
from tunesmith.types import Conversation, Message, Origin

BACKEND = load_tiny().backend


def encode(conversations):
    """Questions are context, answers are learned; "no" is what this template refuses."""
    found = []
    for conversation in conversations:
        ids, trained = [], []
        if any(m.content == "no" for m in conversation.messages):
            error = TemplateError("tools", got="no", need="a template with tools")
            nothing = np.zeros(0, np.int32), np.zeros(0, bool)
            found.append(Encoded(*nothing, skipped="not_expressible", error=error))
            continue
        for m in conversation.messages:
            part = BACKEND.encode(m.content, add_special_tokens=False).ids
            ids += part
            trained += [m.role == "assistant" and m.content != "?"] * len(part)
        found.append(Encoded(np.array(ids, np.int32), np.array(trained, bool)))
    return found


def whole(conversation):
    """One text teaches all of it."""
    return [conversation]


def said(*turns, row=1, held_out=False):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], turn) for i, turn in enumerate(turns))
    return Said(Conversation(messages), Origin("d", "d.json", row, row), held_out)


def make(rows, cutoff_len=1000, truncation="keep_end"):
    ledger = Ledger()
    for _ in rows:
        ledger.read("d.json")
    how = Fitting(stream, encode, whole, BACKEND, cutoff_len, truncation)
    train, held_out = [], []
    for one, examples in Maker(how, ledger).examples(rows):
        (held_out if one.held_out else train).extend(examples)
    ledger.close()
    return train, held_out, ledger


def stream(conversations):
    """One at a time, and always one ahead."""
    rest = iter(conversations)
    ahead = next(rest, None)
    while ahead is not None:
        now, ahead = ahead, next(rest, None)
        yield from encode([now])


def test_rows_become_examples_in_order_on_their_side():
    rows = [said("q", f"a{i}", row=i, held_out=i % 3 == 0) for i in range(7)]
    train, held_out, _ = make(rows)
    assert [e.origin.row for e in train] == [1, 2, 4, 5]
    assert [e.origin.row for e in held_out] == [0, 3, 6]
    assert not any(e.trained[0] for e in train)


def test_a_row_that_the_template_refuses_is_found_among_its_chunk():
    rows = [said("q", "a", row=i) for i in range(5)]
    rows[3] = said("no", "a", row=3)
    train, _, ledger = make(rows)
    assert len(train) == 4
    (skip,) = ledger.skips()["refused by the template"].first
    assert (skip.place, skip.need) == ("d.json:3: tools", "a template with tools")


def test_a_row_without_a_trained_token_is_a_bad_row():
    _, _, ledger = make([said("q", "?"), said("q", "a", row=2)])
    assert [skip.place for skip in ledger.skips()["no trained token"].first] == ["d.json:1: answer"]


def test_an_answer_over_the_cutoff_is_counted_with_the_cutoff_that_keeps_99_percent():
    rows = [said("q", "a " * (i + 1), row=i + 1) for i in range(100)]
    lengths = sorted(len(e.ids) for e in encode([row.conversation for row in rows]))
    train, _, ledger = make(rows, cutoff_len=lengths[49])
    assert len(train) == 51  # one fits without its question
    assert ledger.skips()[OVER_CUTOFF].count == 49
    assert f"cutoff_len: {lengths[98] - 1} would keep 99 %" in ledger.notes[-1]  # without "q"
    ledger.stop_on_bad_rows("error")


def test_the_cutoff_that_is_named_keeps_what_it_says():
    rows = [said("q", "a " * (i + 1), row=i + 1) for i in range(200)]
    _, _, ledger = make(rows, cutoff_len=20)
    enough = int(ledger.notes[-1].split("cutoff_len: ")[1].split()[0])
    assert len(make(rows, cutoff_len=enough)[0]) == 198
    assert len(make(rows, cutoff_len=enough - 1)[0]) < 198


def test_when_99_percent_fit_the_note_names_the_cutoff_for_all():
    rows = [said("q", "a", row=i) for i in range(200)] + [said("q", "a " * 50, row=201)]
    _, _, ledger = make(rows, cutoff_len=20)
    enough = int(ledger.notes[-1].split("cutoff_len: ")[1].split()[0])
    assert ledger.notes[-1].endswith("would keep all")
    assert len(make(rows, cutoff_len=enough)[0]) == 201


def test_with_truncation_error_a_long_row_stops_the_run():
    _, _, ledger = make([said("q " * 50, "a")], cutoff_len=20, truncation="error")
    with pytest.raises(ValueError, match=r"d\.json:1: length"):
        ledger.stop_on_bad_rows("error")


def test_lost_turns_and_cut_questions_are_counted():
    rows = [said("q " * 50, "a"), said("q", "a " * 10, "q", "a " * 10, row=2), said("q", "a")]
    _, _, ledger = make(rows, cutoff_len=15)
    assert ledger.notes == [
        "cutoff_len 15: 1 row lost their oldest turns",
        "cutoff_len 15: 1 row lost the start of a question",
    ]


def test_a_row_that_becomes_several_texts_is_one_row_with_several_examples():
    def halves(conversation):
        messages = conversation.messages
        return [
            conversation._replace(messages=messages[:n]) for n in range(2, len(messages) + 1, 2)
        ]

    ledger = Ledger()
    rows = [
        said("q", "a", row=1),
        said("q", "a", "q", "no", row=2),
        said("q", "a", "r", "b", row=3),
    ]
    how = Fitting(stream, encode, halves, BACKEND, 1000, "keep_end")
    found = list(Maker(how, ledger).examples(rows))
    assert [(one.origin.row, len(examples)) for one, examples in found] == [(1, 1), (3, 2)]
    assert ledger.skips()["refused by the template"].count == 1
    assert ledger.notes[0].startswith("1 conversations became 2 examples")


def test_every_length_before_the_cut_is_counted_and_what_its_answers_need():
    rows = [
        said("a b c", "d", row=1),
        said("a b", "c d", "e", "f", row=2),
        said("a", "b " * 30, row=3),
    ]
    ledger, counts = Ledger(), Counts(Counter(), Counter())
    how = Fitting(stream, encode, whole, BACKEND, 8, "keep_end")
    used = list(Maker(how, ledger, counts).examples(rows))
    assert counts.whole.total() == counts.needed.total() == 3
    assert counts.whole == Counter(len(encode([one.conversation])[0].ids) for one in rows)
    over = sum(n for length, n in counts.needed.items() if length > 8)
    assert over == 3 - len(used) == 1
    assert [one.turns for one in rows] == [1, 2, 1]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1.0])
def test_a_cutoff_is_enough_where_that_share_of_the_rows_stays(share):
    lengths = {7: 60, 20: 35, 100: 4, 1000: 1}
    found = enough_for(share, lengths)
    kept = sum(count for length, count in lengths.items() if length <= found)
    less = sum(count for length, count in lengths.items() if length < found)
    assert less < share * 100 <= kept


@pytest.mark.parametrize(("truncation", "left"), [("drop", ""), ("keep_end", ", 5 after all")])
def test_a_row_over_the_cutoff_is_told_with_its_own_length(truncation, left):
    words = "a " * 30
    row = said(words, "answer", "q", words[:9])
    length = len(encode([row.conversation])[0].ids)
    ledger = make([row], cutoff_len=3, truncation=truncation)[2]
    (skip,) = ledger.skips()[OVER_CUTOFF].first
    assert str(skip.got).startswith(f"{length} tokens{left}")
