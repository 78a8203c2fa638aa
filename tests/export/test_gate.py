"""Each door that does not say the same is found, and named."""

import pytest
import torch

from tunesmith.errors import ModelError
from tunesmith.export import gate
from tunesmith.export.gate import Bound
from tunesmith.export.said import Said
from tunesmith.export.sights import Glance

BOUND = Bound("float32", 0.001, 1e-5)


def _said(**more):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(6, 20, generator=generator) * 3 for _ in range(2)]
    steps = [torch.zeros(3, 20)]
    steps[0][:, 7] = 2.0
    steps[0][2, 9] = 1.999
    facts = {
        "ids": [[1, 2], [0, 1, 2]],
        "prompts": [[5, 6, 7]],
        "template": "{{ a }}",
        "rows": rows,
        "answers": [[7, 7, 7]],
        "steps": steps,
        "texts": ["x y"],
    }
    return Said("one", **(facts | more))


def _wrong(found):
    return [door.name for door in gate.compare(_said(), found, BOUND) if door.equal is False]


def test_the_same_is_equal_at_every_door():
    doors = gate.compare(_said(), _said(), BOUND)
    assert [door.equal for door in doors] == [True] * 5
    gate.refuse(doors, "out", reader="x")


def _glances(prompt=(1, 2), answer=(7, 7, 7), top=2.0):
    steps = torch.zeros(3, 20)
    steps[:, 7] = top
    return [Glance(list(prompt), list(answer), steps)]


def test_pictures_have_doors_where_they_were_shown():
    asked = _said().looked(_glances())
    doors = gate.compare(asked, _said().looked(_glances()), BOUND)
    assert [door.equal for door in doors] == [True] * 8
    assert [door.equal for door in gate.compare(asked, _said(), BOUND)[5:]] == [None] * 3


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"prompt": (1, 3)}, ["picture prompts"]),
        ({"answer": (7, 7, 8)}, ["picture answers"]),
        ({"top": 2.1}, ["picture logits"]),
    ],
)
def test_each_wrong_door_of_pictures_is_named(change, wrong):
    asked, other = _said().looked(_glances()), _said().looked(_glances(**change))
    found = [door.name for door in gate.compare(asked, other, BOUND) if door.equal is False]
    assert found == wrong


@pytest.mark.parametrize(
    ("change", "door"),
    [
        ({"ids": [[1, 2], [0, 1, 3]]}, "tokenizer ids"),
        ({"ids": [[1, 2], [0, 1]]}, "tokenizer ids"),
        ({"prompts": [[5, 6]]}, "prompt ids"),
        ({"template": "{{ b }}"}, "chat template"),
        ({"rows": [torch.zeros(6, 20)] * 2}, "logits"),
        ({"rows": [torch.full((6, 20), float("nan"))] * 2}, "logits"),
        ({"rows": [torch.zeros(6, 19)] * 2}, "logits"),
        ({"answers": [[7, 8, 7]]}, "greedy answers"),
    ],
)
def test_each_door_is_named(change, door):
    found = _said(**change)
    assert _wrong(found) == [door]
    with pytest.raises(ModelError, match=door) as caught:
        gate.refuse(gate.compare(_said(), found, BOUND), "out", reader="llama.cpp")
    assert "llama.cpp" in caught.value.need
    assert "nothing was exported" in caught.value.need


def test_an_answer_may_turn_where_the_lead_is_within_what_the_format_explains():
    near = gate.compare(_said(), _said(answers=[[7, 7, 9]]), BOUND)[-1]
    assert near.equal
    assert near.numbers == {"answers": 1, "equal": 0}
    assert _wrong(_said(answers=[[7, 7, 8]])) == ["greedy answers"]


def test_a_small_shift_of_every_logit_is_seen_by_divergence_where_the_largest_is_not():
    rows = [row + 0.004 * torch.sign(torch.randn(6, 20)) for row in _said().rows]
    door = gate.compare(_said(), _said(rows=rows), BOUND._replace(share=1.0, kl=1e-9))[3]
    assert door.equal is False
    assert door.numbers["kl"] > 1e-9
    assert gate.compare(_said(), _said(rows=rows), BOUND._replace(share=1.0, kl=1.0))[3].equal


def test_what_one_side_does_not_give_is_not_compared_and_said_so():
    found = _said(ids=None, rows=None, template=None, answers=None)
    doors = {door.name: door for door in gate.compare(_said(), found, BOUND)}
    assert doors["tokenizer ids"].equal is None
    assert "not compared" in doors["logits"].said
    assert doors["greedy answers"].equal is True  # as text
    other = gate.compare(_said(), found._replace(texts=["z"]), BOUND)[-1]
    assert other.equal is False


def test_where_both_compute_in_16_bits_more_is_explained():
    assert BOUND.looser("float32") == BOUND
    assert BOUND.looser("bfloat16").share > BOUND.share
