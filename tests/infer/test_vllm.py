"""vLLM as an engine, by a stand-in that speaks its contract: what is asked, said, ended, told."""

import json
import threading
import time
import urllib.request

import pytest
import torch

from standin_vllm import OPTIONS, standing_in
from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.infer.batching import Batching
from tunesmith.infer.grammar import AfterThought, Grammars
from tunesmith.infer.request import Request
from tunesmith.infer.sampling import Sampling
from tunesmith.infer.vllm import Vllm
from tunesmith.infer.vllm_process import Child
from tunesmith.models import adapters, load, tokenizer
from tunesmith.models.adapter_spec import LoraSpec

GREEDY = Sampling(do_sample=False, max_new_tokens=24)
PROMPTS = [tuple(range(5 + n, 15 + 2 * n)) for n in range(4)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """vLLM's stand-in and our own engine over one model and one adapter."""
    folder, patch = tmp_path_factory.mktemp("vllm"), pytest.MonkeyPatch()
    directory = tiny_model(folder)
    model = load.load_model(directory, dtype=torch.float32)
    adapters.attach(model, LoraSpec(rank=4, target=("q_proj", "v_proj")), seed=1)
    with torch.no_grad():
        for name, parameter in adapters.trainable(model).items():
            parameter.normal_(std=0.3) if "lora_B" in name or "b" in name else None
    (folder / "adapter").mkdir()
    adapters.save_adapter(model, folder / "adapter", str(directory))
    backend = tokenizer.load(directory).backend
    standing_in(patch, STANDIN_PAUSE="0.01")
    lora = {"enable-lora": True, "max-lora-rank": 8, "max-loras": 1,
            "lora-modules": [f"law={folder / 'adapter'}"]}  # fmt: skip
    child = Child({"model": directory, **OPTIONS, **lora})
    patch.undo()
    theirs = Vllm(
        child.address, backend, models={None: "tunesmith-base", "law": "law"}, stop_ids={2},
        context=512, died=child.died, end=child.end,
    )  # fmt: skip
    tuned = Batching(model, backend, stop_ids={2})
    yield theirs, tuned, backend, load.load_model(directory, dtype=torch.float32)
    theirs.close()
    tuned.close()


def whole(engine, request):
    """Text, ids and end of an answer."""
    deltas = list(engine.submit(request))
    text = "".join(delta.text for delta in deltas)
    return text, [token for delta in deltas for token in delta.tokens], deltas[-1].finish


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_answers_are_those_of_our_own_engine(both, prompt):
    theirs, tuned, backend, model = both
    base = Batching(model, backend, stop_ids={2})
    for engine, adapter in ((base, None), (tuned, "law")):
        ours = whole(engine, Request(prompt, GREEDY))
        assert whole(theirs, Request(prompt, GREEDY, adapter=adapter)) == ours
    base.close()


@pytest.mark.gpu
def test_vllm_itself_gives_the_answers_of_our_engine(tmp_path):
    """The real one, where it and a GPU are: greedy ids in fp32, from a model of its head sizes."""
    pytest.importorskip("vllm")
    directory = tiny_model(tmp_path, hidden_size=256, num_key_value_heads=2)
    backend = tokenizer.load(directory).backend
    child = Child({"model": directory, **OPTIONS, "enforce-eager": True}, deadline=600)
    theirs = Vllm(
        child.address, backend, models={None: "tunesmith-base"}, stop_ids={2}, context=512,
        died=child.died, end=child.end,
    )  # fmt: skip
    ours = Batching(load.load_model(directory, dtype=torch.float32), backend, stop_ids={2})
    try:
        for prompt in PROMPTS:
            request = Request(prompt, GREEDY)
            assert whole(theirs, request) == whole(ours, request)
    finally:
        theirs.close()
        ours.close()


def test_stops_logprobs_and_biases_are_heeded(both):
    theirs, _, backend, model = both
    base = Batching(model, backend, stop_ids={2})
    free = whole(base, Request(PROMPTS[0], GREEDY))
    word = free[0][len(free[0]) // 2 :][:2]
    ended = free[1][5].id
    always = Vllm(
        theirs._address, backend, models={None: "tunesmith-base"}, stop_ids={2}, context=512,
        stop_texts=(word,),
    )  # fmt: skip
    stopped = whole(base, Request(PROMPTS[0], GREEDY, stops=(word,)))
    assert whole(always, Request(PROMPTS[0], GREEDY)) == stopped
    for request in (
        Request(PROMPTS[0], GREEDY, stops=(word,)),
        Request(PROMPTS[0], GREEDY, stop_ids={ended}),
        Request(PROMPTS[0], GREEDY._replace(logit_bias={ended: -100.0})),
    ):
        ours = whole(base, request)
        assert whole(theirs, request) == ours
        assert ours != free
    asked = Request(PROMPTS[1], GREEDY, logprobs=3)
    (_, ours, _), (_, other, _) = whole(base, asked), whole(theirs, asked)
    assert [token.id for token in ours] == [token.id for token in other]
    for one, two in zip(ours, other, strict=True):
        assert one.logprob == pytest.approx(two.logprob, abs=1e-4)
        assert [i for i, _ in one.top] == [i for i, _ in two.top]
        assert len(two.top) == 3
    base.close()


def test_everything_that_decides_a_draw_is_said(both):
    theirs, *_ = both
    how = Sampling(temperature=0.7, top_p=0.8, top_k=0, min_p=0.1, seed=9, max_new_tokens=7)
    said = theirs._said(Request((1, 2), how), 7, {2})
    assert (said["temperature"], said["top_p"], said["top_k"], said["min_p"]) == (0.7, 0.8, -1, 0.1)
    assert (said["seed"], said["ignore_eos"], said["stop_token_ids"]) == (9, True, [2])
    greedy = theirs._said(Request((1, 2), GREEDY), 7, {2})
    assert (greedy["temperature"], greedy["top_p"], greedy["top_k"]) == (0.0, 1.0, -1)


def test_grammars_are_told_or_refused(both):
    theirs, _, backend, _ = both
    grammars = Grammars(backend, stop_ids={2})
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = Request((1, 2), GREEDY, grammar=grammars.of_json(schema))
    assert theirs._said(asked, 7, {2})["structured_outputs"] == {"json": schema}
    later = AfterThought(grammars.of_json(schema), backend, "</think>")
    with pytest.raises(ModelError, match="from the first token on"):
        theirs.submit(Request((1, 2), GREEDY, grammar=later))


def test_a_client_that_leaves_frees_its_place(both):
    theirs, *_ = both
    stream = theirs.submit(Request(PROMPTS[0], GREEDY._replace(max_new_tokens=400)))
    next(iter(stream))
    assert going(theirs) == 1
    stream.cancel()
    until = time.monotonic() + 10
    while going(theirs) and time.monotonic() < until:
        time.sleep(0.02)
    assert going(theirs) == 0
    assert list(stream)[-1].finish == "cancelled"
    assert theirs.load == (0, 0)


def going(engine) -> int:
    """Answers that the server is at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{engine._address.port}/going") as said:
        return json.load(said)["going"]


def test_a_deadline_ends_an_answer_as_it_is(both):
    theirs, *_ = both
    long = GREEDY._replace(max_new_tokens=400)
    text, tokens, finish = whole(theirs, Request(PROMPTS[0], long, deadline=time.monotonic() + 0.4))
    assert finish == "deadline"
    assert 0 < len(tokens) < 400
    assert text


def test_many_at_once_are_each_as_alone(both):
    theirs, *_ = both
    alone = [whole(theirs, Request(prompt, GREEDY)) for prompt in PROMPTS]
    found = {}

    def ask(number):
        found[number] = whole(theirs, Request(PROMPTS[number % 4], GREEDY))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(12)] == alone * 3


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request((), GREEDY), "at least one token"),
        (Request((1,) * 512, GREEDY), "fewer than the model's context of 512"),
        (Request((1,), GREEDY, adapter="nobody"), "one of"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(both, request_, said):
    with pytest.raises(ModelError, match=said):
        both[0].submit(request_)


def test_a_server_that_dies_is_told_with_its_last_words(tmp_path, monkeypatch):
    standing_in(monkeypatch, STANDIN_DIES="1")
    directory = tiny_model(tmp_path)
    child = Child({"model": directory, **OPTIONS})
    backend = tokenizer.load(directory).backend
    engine = Vllm(
        child.address, backend, models={None: "tunesmith-base"}, stop_ids={2}, context=512,
        died=child.died, end=child.end,
    )  # fmt: skip
    with pytest.raises(ModelError, match="out of everything"):
        list(engine.submit(Request((1, 7), GREEDY)))
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.submit(Request((1, 2), GREEDY))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([{"token_ids": [9], "finish_reason": "abort"}], "ended by abort"),
        ([{"token_ids": [9], "finish_reason": None}], "broke off"),
        ([], "broke off"),
    ],
)
def test_an_answer_that_is_not_whole_is_none(both, monkeypatch, events, said):
    theirs, *_ = both
    told = [{"choices": [choice]} for choice in events]
    monkeypatch.setattr("tunesmith.infer.vllm._events", lambda response: iter(told))
    monkeypatch.setattr("tunesmith.infer.vllm._DYING_SECONDS", 0)
    with pytest.raises(ModelError, match=said):
        list(theirs.submit(Request((1, 2), GREEDY)))


def test_what_vllm_does_not_take_is_told(both):
    theirs, _, backend, _ = both
    wrong = Vllm(theirs._address, backend, models={None: "nobody"}, stop_ids={2}, context=512)
    with pytest.raises(ModelError, match="404: no model nobody"):
        list(wrong.submit(Request((1, 2), GREEDY)))
