"""Requests that come and go: each gets what it gets alone, and its place is free when it ends."""

import random
import threading
import time

import pytest
import torch

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith.errors import ModelError
from tunesmith.infer.batching import Batching
from tunesmith.infer.forward import Packed
from tunesmith.infer.request import Request
from tunesmith.infer.sampling import GREEDY, Sampling
from tunesmith.models.load import load_model

BACKEND = load_tiny().backend
WIDE = {"hidden_size": 256, "intermediate_size": 640}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tiny_model(tmp_path_factory.mktemp("model"), **WIDE)
    return load_model(directory, dtype=torch.float32)


@pytest.fixture
def engines():
    made = []

    def make(model, **keys):
        engine = Batching(model, BACKEND, **{"stop_ids": frozenset(), **keys})
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def requests(count, seed=0):
    draw = random.Random(seed)
    samplings = (
        GREEDY,
        Sampling(temperature=1.3, top_p=0.9),
        Sampling(temperature=0.8, repetition_penalty=1.3, presence_penalty=0.4),
        Sampling(min_p=0.02, top_k=0, frequency_penalty=0.7, logit_bias={3: 2.0}),
    )
    return [
        Request(
            tuple(draw.randrange(5, 200) for _ in range(draw.choice((1, 3, 17, 40, 90)))),
            draw.choice(samplings)._replace(max_new_tokens=draw.choice((1, 5, 24)), seed=i),
            logprobs=2,
        )
        for i in range(count)
    ]


def heard(stream):
    deltas = list(stream)
    return "".join(d.text for d in deltas), [t for d in deltas for t in d.tokens], deltas[-1].finish


def test_answers_are_to_the_last_bit_those_of_each_alone(model, engines):
    asked = requests(40)
    alone_engine = engines(model, slots=1, chunk=32)
    alone = [heard(alone_engine.submit(request)) for request in asked]
    engine, draw = engines(model, slots=7, chunk=32), random.Random(1)
    streams, gone = [], []
    for request in asked:
        streams.append(engine.submit(request))
        if draw.random() < 0.3:  # somebody joins who leaves again
            gone.append(engine.submit(request._replace(prompt_ids=request.prompt_ids * 2)))
            time.sleep(draw.random() / 50)
            gone[-1].cancel()
    assert [heard(stream) for stream in streams] == alone
    assert {heard(stream)[2] for stream in gone} <= {"cancelled", "length"}


def test_a_place_is_free_as_soon_as_its_answer_ends(model, engines):
    engine = engines(model, slots=1)
    long = Request((5, 6, 7), GREEDY._replace(max_new_tokens=400))
    first, second = engine.submit(long), engine.submit(long._replace(prompt_ids=(8,)))
    next(iter(first))
    assert engine.load == (1, 1)
    first.cancel()
    assert next(iter(second)).tokens
    assert heard(first)[2] == "cancelled"
    second.cancel()
    assert heard(second)[2] == "cancelled"
    while engine.load != (0, 0):
        time.sleep(0.01)


def test_an_answer_that_is_late_ends_as_it_is(model, engines):
    engine = engines(model)
    now = time.monotonic()
    late = Request((5,), GREEDY._replace(max_new_tokens=400), deadline=now - 1)
    assert heard(engine.submit(late)) == ("", [], "deadline")


def test_what_is_kept_at_once_is_bounded(model, engines):
    engine = engines(model, held=100)
    each = Request((5,) * 10, GREEDY._replace(max_new_tokens=40))
    seen, streams = [], [engine.submit(each) for _ in range(5)]
    for stream in streams:
        for _ in stream:
            seen.append(engine.load[0])
    assert max(seen) == 2
    huge = each._replace(sampling=GREEDY._replace(max_new_tokens=300))
    assert heard(engine.submit(huge))[2] == "length"


class Failing(Packed):
    """Cannot go on with a certain token."""

    def extend(self, new):
        if any(13 in ids for _, ids in new):
            raise RuntimeError("out of\nsomething")
        return super().extend(new)


def test_an_error_of_the_model_is_told_and_the_next_request_is_answered(model, engines):
    engine = engines(model, forward=Failing(model))
    bad = engine.submit(Request((5, 13), GREEDY))
    with pytest.raises(ModelError, match="RuntimeError: out of something"):
        list(bad)
    assert heard(engine.submit(Request((5,), GREEDY._replace(max_new_tokens=3))))[2] == "length"


class Breaking(Packed):
    """Fails in the middle of a pass that has a certain token."""

    def extend(self, new):
        if not any(13 in ids for _, ids in new):
            return super().extend(new)

        def fail(*_):
            raise RuntimeError("broken")

        hook = self._model.model.layers[-1].self_attn.register_forward_hook(fail)
        try:
            return super().extend(new)
        finally:
            hook.remove()


def test_an_error_of_one_costs_nothing_to_those_that_shared_its_pass(model, engines):
    asked = [each for each in requests(12, seed=3) if 13 not in each.prompt_ids]
    asked = [
        each._replace(sampling=each.sampling._replace(logit_bias={13: -100})) for each in asked
    ]
    alone_engine = engines(model, slots=1)
    alone = [heard(alone_engine.submit(request)) for request in asked]
    engine, streams, bad = engines(model, forward=Breaking(model)), [], []
    for request in asked:
        streams.append(engine.submit(request))
        bad.append(engine.submit(Request((*request.prompt_ids, 13), GREEDY)))
    assert [heard(stream) for stream in streams] == alone
    for stream in bad:
        with pytest.raises(ModelError, match="broken"):
            list(stream)


def test_new_prompts_share_their_passes_with_each_other_and_with_answers(model, engines):
    passes = []

    class Counting(Packed):
        def extend(self, new):
            passes.append([len(ids) for _, ids in new])
            return super().extend(new)

    engine = engines(model, chunk=64, forward=Counting(model))
    release = threading.Event()
    engine.between(release.wait)  # until all have come
    asked = [Request((5,) * 30, GREEDY._replace(max_new_tokens=3)) for _ in range(4)]
    asked.append(Request((5,) * 100, GREEDY._replace(max_new_tokens=3)))
    streams = [engine.submit(each) for each in asked]
    release.set()
    for stream in streams:
        heard(stream)
    # chunks of 64 end at the same places whoever is there, and are never cut to fit
    assert passes == [[30, 30], [1, 1, 30, 30], [1, 1, 1, 1, 64], [1, 1, 36], [1], [1]]


@pytest.mark.parametrize(
    ("request_", "got"),
    [
        (Request((), GREEDY), "0 tokens"),
        (Request((5,) * 512, GREEDY), "512 tokens"),
        (Request((10**6,), GREEDY), 10**6),
        (Request((-1,), GREEDY), -1),
        (Request((5,), GREEDY._replace(logit_bias={10**6: 1.0})), 10**6),
        (Request((5,), GREEDY, adapter="other"), "other"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(model, engines, request_, got):
    with pytest.raises(ModelError) as refused:
        engines(model).submit(request_)
    assert refused.value.got == got


def test_closing_ends_what_is_under_way(model, engines):
    engine = engines(model, slots=1)
    long = Request((5,), GREEDY._replace(max_new_tokens=500))
    streams = [engine.submit(long) for _ in range(3)]
    next(iter(streams[0]))
    engine.close()
    assert [heard(stream)[2] for stream in streams] == ["cancelled"] * 3
    with pytest.raises(ModelError, match="closed"):
        engine.submit(long)


def test_deltas_can_be_handed_over_where_they_arise(model, engines):
    told, done = [], threading.Event()

    def hear(delta):
        told.append((delta, threading.current_thread().name))
        if delta.finish:
            done.set()
        raise RuntimeError("a listener that fails costs nobody else anything")

    engine = engines(model)
    asked = Request((5, 6), GREEDY._replace(max_new_tokens=4))
    engine.submit(asked, hear)
    assert done.wait(60)
    assert [name for _, name in told] == ["answers"] * len(told)
    assert [t for d, _ in told for t in d.tokens] == heard(engine.submit(asked))[1]
