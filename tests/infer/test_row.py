import math

import pytest
import torch

from tiny_tokenizer import load_tiny
from tunesmith.infer.request import Request
from tunesmith.infer.row import Row
from tunesmith.infer.sampling import GREEDY, Sampling

BACKEND = load_tiny().backend
VOCABULARY = BACKEND.get_vocab_size()


def logits_for(token_id):
    logits = torch.linspace(0, 1, VOCABULARY)
    logits[token_id] = 9.0
    return logits


def ids_of(text):
    return BACKEND.encode(text, add_special_tokens=False).ids


def row(**keys):
    room, stop_ids = keys.pop("room", 50), keys.pop("stop_ids", ())
    keys = {"prompt_ids": (1,), "sampling": GREEDY, **keys}
    return Row(Request(**keys), BACKEND, room=room, stop_ids=stop_ids)


def said(made, ids):
    return [made.take(logits_for(i)) for i in ids]


def test_it_ends_at_a_stop_id_which_is_told_and_not_shown():
    ids = ids_of("the capital")
    deltas = said(row(stop_ids={3}), [*ids, 3])
    assert "".join(d.text for d in deltas) == "the capital"
    assert [t.id for d in deltas for t in d.tokens] == [*ids, 3]
    assert [d.finish for d in deltas] == [None] * len(ids) + ["stop"]


def test_it_ends_at_a_text_of_the_request_wherever_tokens_end():
    ids = ids_of("one two END three")
    made, shown = row(stops=(" END",)), ""
    for i in ids:
        delta = made.take(logits_for(i))
        shown += delta.text
        if delta.finish:
            break
    assert (shown, made.finish) == ("one two", "stop")


def test_it_ends_when_there_is_no_more_room():
    ids = ids_of("one two three")
    deltas = said(row(room=len(ids)), ids)
    assert deltas[-1].finish == "length"
    assert "".join(d.text for d in deltas) == "one two three"


def test_what_is_held_back_comes_at_the_end():
    made = row(stops=("three!",))
    ids = ids_of("one three")
    shown = "".join(d.text for d in said(made, ids))
    assert shown + made.end("deadline").text == "one three"
    assert made.finish == "deadline"


def test_logprobs_are_those_of_the_model_before_temperature_and_penalties():
    sampling = Sampling(temperature=3.0, top_p=0.1, repetition_penalty=1.7, logit_bias={4: 50.0})
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1))
    (token,) = row(sampling=sampling, logprobs=3).take(logits).tokens
    wanted = [x - math.log(sum(map(math.exp, logits.tolist()))) for x in logits.tolist()]
    assert token.id == 4
    assert token.logprob == pytest.approx(wanted[4], abs=1e-5)
    best = sorted(range(VOCABULARY), key=lambda i: -wanted[i])[:3]
    assert [i for i, _ in token.top] == best
    assert [p for _, p in token.top] == pytest.approx([wanted[i] for i in best], abs=1e-5)
    assert row(logprobs=0).take(logits).tokens[0].top == ()
    assert row().take(logits).tokens[0].logprob is None


class OnlyThese:
    """A grammar of fixed tokens."""

    def __init__(self, ids):
        self.ids = ids

    def begin(self):
        return OnlyThese(list(self.ids))

    def mask(self, logits_V):
        masked = torch.full_like(logits_V, -math.inf)
        masked[self.ids[0]] = logits_V[self.ids[0]]
        return masked

    def take(self, token_id):
        assert token_id == self.ids.pop(0)


def test_a_grammar_decides_what_may_come():
    made = row(grammar=OnlyThese([7, 8, 9]), sampling=Sampling(temperature=2.0))
    assert [made.take(logits_for(5)).tokens[0].id for _ in range(3)] == [7, 8, 9]
