"""Every route as clients call it, over an engine whose words are known."""

import base64
import json
import math
import struct

import pytest
import torch
from starlette.testclient import TestClient

from serving import TOKENIZER, TOOLS, Said, Scripted, served, spoken
from tunesmith.errors import ModelError
from tunesmith.infer.grammar import AfterThought
from tunesmith.serve.app import build
from tunesmith.serve.limits import Limits
from tunesmith.serve.reading import Style

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ASKED = {"messages": [{"role": "user", "content": "What?"}]}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def client(engine, *, token="secret", places=4, **keys):
    app, _ = build(served(engine, **keys), token=token, places=places)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return TestClient(app, headers=headers, raise_server_exceptions=False)


def events(response):
    """The objects of a stream, which ends as OpenAI's do."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def refused(response, status, param=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    return error["message"]


def test_an_answer_has_its_words_its_end_and_its_counts():
    engine = Scripted("It is Paris.")
    said = client(engine).post(CHAT, json={**ASKED, "model": "tuned", "seed": 7}).json()
    (choice,) = said["choices"]
    assert choice["message"] == {"role": "assistant", "content": "It is Paris."}
    assert choice["finish_reason"] == "stop"
    made = len(TOKENIZER.backend.encode("It is Paris.", add_special_tokens=False).ids)
    prompt = len(engine.asked[0].prompt_ids)
    assert said["usage"] == {
        "prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made,
    }  # fmt: skip
    assert said["object"] == "chat.completion"
    assert said["model"] == "tuned"


def test_a_stream_says_the_same_in_pieces_and_counts_where_asked():
    keys = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(client(Scripted("It is Paris.")).post(CHAT, json=keys))
    deltas = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(d["delta"].get("content", "") for d in deltas) == "It is Paris."
    assert [d["finish_reason"] for d in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert len({chunk["id"] for chunk in chunks}) == 1
    silent = events(client(Scripted("a")).post(CHAT, json={**ASKED, "stream": True}))
    assert not any("usage" in chunk for chunk in silent)


def test_settings_reach_the_engine_and_the_rest_is_the_servers():
    engine = Scripted("a")
    keys = {
        "temperature": 0.5, "top_p": 0.4, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5,
        "presence_penalty": 0.3, "frequency_penalty": -0.2, "max_tokens": 9, "seed": 11,
        "logit_bias": {"5": -100}, "stop": ["END"], "model": "base", "logprobs": True,
        "top_logprobs": 2, "n": 2, "user": "passed over",
    }  # fmt: skip
    client(engine).post(CHAT, json={**ASKED, **keys})
    first, second = engine.asked
    sampling = first.sampling
    for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed"):
        assert getattr(sampling, name) == keys[name]
    assert (sampling.repetition_penalty, sampling.frequency_penalty) == (1.5, -0.2)
    assert (sampling.max_new_tokens, sampling.logit_bias) == (9, {5: -100})
    assert (first.stops, first.adapter, first.logprobs) == (("END",), "base", 2)
    assert second.sampling.seed == 12
    client(engine).post(CHAT, json={**ASKED, "temperature": 0})
    assert not engine.asked[-1].sampling.do_sample
    assert engine.asked[-1].sampling.max_new_tokens == 64
    assert engine.asked[-1].sampling.top_p == 0.7
    for everything in (0, -1):
        client(engine).post(CHAT, json={**ASKED, "top_k": everything})
        assert engine.asked[-1].sampling.top_k == 0


def test_calls_are_calls_whole_and_in_a_stream():
    keys = {**ASKED, "tools": TOOLS}
    http = client(Scripted(f"Well.\n{CALL}"))
    choice = http.post(CHAT, json=keys).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Well."
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    chunks = events(http.post(CHAT, json={**keys, "stream": True}))
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert "".join(d["delta"].get("content") or "" for d in deltas) == "Well."
    (streamed,) = [c for d in deltas for c in d["delta"].get("tool_calls", ())]
    assert (streamed["index"], streamed["function"]) == (0, call["function"])
    assert deltas[-1]["finish_reason"] == "tool_calls"


def test_no_more_calls_than_wanted():
    http = client(Scripted(f"{CALL}\n{CALL}"))
    count = lambda keys: len(  # noqa: E731
        http.post(CHAT, json={**ASKED, "tools": TOOLS, **keys})
        .json()["choices"][0]["message"]
        .get("tool_calls", ())
    )
    assert count({}) == 2
    assert count({"parallel_tool_calls": False}) == 1
    assert count({"tool_choice": "none"}) == 0


def test_tools_are_in_the_prompt_unless_none_may_be_called():
    engine = Scripted("a")
    http = client(engine)
    for choice in ("auto", "none"):
        http.post(CHAT, json={**ASKED, "tools": TOOLS, "tool_choice": choice})
    shown, hidden = (TOKENIZER.backend.decode(list(r.prompt_ids)) for r in engine.asked)
    assert "weather" in shown
    assert "weather" not in hidden


def test_a_conversation_with_calls_and_results_is_the_trainers_prompt():
    engine = Scripted("a")
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "How is it in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]  # fmt: skip
    answer = client(engine).post(CHAT, json={"messages": messages, "tools": TOOLS})
    assert answer.status_code == 200, answer.text
    said = TOKENIZER.backend.decode(list(engine.asked[0].prompt_ids), skip_special_tokens=False)
    for words in ("Be short.", CALL, "<tool_response>\nsunny"):
        assert words in said


def test_a_thought_is_reasoning_content_whole_and_in_a_stream():
    http = client(Scripted("<think>\nhm\n</think>\n\nParis."), template="qwen3")
    message = http.post(CHAT, json=ASKED).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "Paris.")
    deltas = [
        chunk["choices"][0]["delta"]
        for chunk in events(http.post(CHAT, json={**ASKED, "stream": True}))
    ]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "hm"
    assert "".join(d.get("content", "") for d in deltas) == "Paris."


def test_logprobs_of_a_chat_and_of_a_completion():
    http = client(Scripted("ab cd"))
    keys = {**ASKED, "logprobs": True, "top_logprobs": 1}
    told = http.post(CHAT, json=keys).json()["choices"][0]["logprobs"]["content"]
    assert "".join(t["token"] for t in told) == "ab cd"
    assert all(t["logprob"] == -0.5 and t["bytes"] == list(t["token"].encode()) for t in told)
    assert all(t["top_logprobs"][0]["token"] == t["token"] for t in told)
    streamed = events(http.post(CHAT, json={**keys, "stream": True}))
    pieces = [(c["choices"][0]["logprobs"] or {}).get("content", ()) for c in streamed]
    assert [t for piece in pieces for t in piece] == told
    old = http.post(TEXT, json={"prompt": "x", "logprobs": 1}).json()["choices"][0]["logprobs"]
    assert "".join(old["tokens"]) == "ab cd"
    assert old["text_offset"][0] == 0
    assert old["token_logprobs"] == [-0.5] * len(old["tokens"])


def test_completions_take_text_ids_and_several():
    engine = Scripted("one", "two")
    http = client(engine)
    said = http.post(TEXT, json={"prompt": ["a", "b"], "max_tokens": 5}).json()
    assert [c["text"] for c in said["choices"]] == ["one", "two"]
    assert [c["index"] for c in said["choices"]] == [0, 1]
    http.post(TEXT, json={"prompt": [5, 6, 7]})
    http.post(TEXT, json={"prompt": [[5], [6, 7]]})
    assert [r.prompt_ids for r in engine.asked[2:]] == [(5, 6, 7), (5,), (6, 7)]
    chunks = events(http.post(TEXT, json={"prompt": "a", "stream": True}))
    assert "".join(c["choices"][0]["text"] for c in chunks) in ("one", "two")
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_embeddings_are_vectors_in_both_formats():
    vector = torch.tensor([0.25, -0.5, 1.0])
    http = client(Scripted("a"), embed=lambda ids, adapter: vector * len(ids))
    said = http.post("/v1/embeddings", json={"input": [[5], [5, 6]]}).json()
    assert [d["embedding"] for d in said["data"]] == [vector.tolist(), (vector * 2).tolist()]
    assert said["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = http.post("/v1/embeddings", json={"input": [5], "encoding_format": "base64"}).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == (0.25, -0.5, 1.0)
    refused(client(Scripted("a")).post("/v1/embeddings", json={"input": "a"}), 404, "model")


def test_answers_can_be_held_to_a_schema_or_a_call():
    engine = Scripted('{"a": 1}')
    http = client(engine)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert http.post(CHAT, json={**ASKED, "response_format": wanted}).status_code == 200
    assert engine.asked[-1].grammar is not None
    assert http.post(CHAT, json={**ASKED, "response_format": {"type": "text"}}).status_code == 200
    assert engine.asked[-1].grammar is None
    one = {"type": "function", "function": {"name": "time"}}
    for choice in ("required", one):
        keys = {**ASKED, "tools": TOOLS, "tool_choice": choice}
        assert http.post(CHAT, json=keys).status_code == 200
        assert engine.asked[-1].grammar is not None


def test_a_prompt_that_opens_a_thought_leaves_it_free():
    engine = Scripted("hm</think>{}")
    prompt = TOKENIZER.backend.encode("What?<think>\n", add_special_tokens=False).ids
    opened = spoken(
        served(engine),
        encode=lambda conversation: prompt,
        style=lambda tools: Style(("<think>\n", "\n</think>\n")),
    )
    app, _ = build(opened, token=None, places=4)
    keys = {**ASKED, "response_format": {"type": "json_object"}}
    message = TestClient(app).post(CHAT, json=keys).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "{}")
    assert isinstance(engine.asked[-1].grammar, AfterThought)


def test_models_health_and_figures():
    http = client(Scripted("a"))
    assert [m["id"] for m in http.get("/v1/models").json()["data"]] == ["tuned", "base"]
    assert http.get("/v1/models/base").json()["id"] == "base"
    refused(http.get("/v1/models/other"), 404, "model")
    http.post(CHAT, json=ASKED)
    said = http.get("/metrics").text
    assert 'tunesmith_requests_total{path="/v1/chat/completions",status="200"} 1.0' in said
    assert "tunesmith_completion_tokens_total 1.0" in said
    assert http.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}


def test_nothing_but_health_is_told_without_the_token():
    http = client(Scripted("a"))
    for given in ("", "Bearer secre", "Bearer secret2", "secret", "bearer secret", "Bearer é"):
        for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
            answer = http.get(path, headers={"Authorization": given.encode()})
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client(Scripted("a"), token=None).get("/v1/models").status_code == 200


BAD = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "usr", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "colour": "red"}]}, "messages"),
    ({"messages": [*ASKED["messages"], {"role": "assistant", "content": "b"}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]},
     "messages[0].content[0]"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 100}, "n"),
    ({"n": 1.5}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": "a" * 300}, "stop"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"temprature": 1}, "temprature"),
    ({"model": 5}, "model"),
    ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"tools": [{"type": "retrieval", "function": {}}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {"parameters": {}}}]}, "tools[0].function.name"),
    ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
     "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "nonsense"}}}}, "response_format"),
    ({"response_format": {"type": "json_object"}, "tools": TOOLS}, "response_format"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "param"), BAD, ids=[json.dumps(k)[:60] for k, _ in BAD])
def test_what_cannot_be_honoured_names_its_parameter(keys, param):
    engine = Scripted("a")
    http = client(engine)
    message = refused(http.post(CHAT, json={**ASKED, **keys}), 400, param)
    assert message
    assert not engine.asked
    assert http.post(CHAT, json=ASKED).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"a": NaN}'])
def test_a_body_that_is_no_object_is_400(body):
    http = client(Scripted("a"))
    answer = http.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert "Content-Type" in refused(http.post(CHAT, content=b'{"a": 1}'), 400)


def test_other_paths_methods_and_models():
    http = client(Scripted("a"))
    refused(http.get("/v1/nothing"), 404)
    refused(http.get(CHAT), 405)
    assert "tuned, base" in refused(http.post(CHAT, json={**ASKED, "model": "x"}), 404, "model")


def test_a_body_that_is_too_large_is_413_however_it_is_sent():
    http = client(Scripted("a"), limits=Limits(body_bytes=500))
    large = json.dumps({**ASKED, "user": "x" * 600}).encode()
    refused(http.post(CHAT, content=large), 413)
    refused(http.post(CHAT, content=iter([large[:300], large[300:]])), 413)
    assert http.post(CHAT, json=ASKED).status_code == 200


def test_prompts_and_answers_have_caps_of_their_own():
    http = client(Scripted("a"), limits=Limits(prompt_tokens=60, answer_tokens=9))
    long = {"messages": [{"role": "user", "content": "so " * 90}]}
    refused(http.post(CHAT, json=long), 400, "messages")
    refused(http.post("/v1/completions", json={"prompt": [5] * 61}), 400, "prompt")
    assert http.post("/v1/completions", json={"prompt": [5] * 60}).status_code == 200
    for key in ("max_tokens", "max_completion_tokens"):
        refused(http.post(CHAT, json={**ASKED, key: 10}), 400, "max_tokens")
        assert http.post(CHAT, json={**ASKED, key: 9}).status_code == 200


def test_a_result_without_a_call_is_refused_at_its_place():
    http = client(Scripted("a"))
    asked, result = ASKED["messages"], {"role": "tool", "content": "12", "tool_call_id": "c1"}
    call = {"id": "c1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    for messages in ([result], [*asked, result], [*asked, {**calling, "tool_calls": []}, result]):
        place = f"messages[{len(messages) - 1}].role"
        refused(http.post(CHAT, json={"messages": messages, "tools": TOOLS}), 400, place)
    good = [*asked, calling, result]
    assert http.post(CHAT, json={"messages": good, "tools": TOOLS}).status_code == 200


def test_a_prompt_beyond_the_context_is_told_in_tokens():
    message = client(Scripted("a")).post(
        CHAT, json={"messages": [{"role": "user", "content": "word " * 5000}]}
    )
    assert "context is 4096" in refused(message, 400, "messages")


def test_a_full_queue_is_429_and_says_when_to_come_back():
    http = client(Scripted("a"), places=1, limits=Limits(waiting=2))
    answer = http.post(CHAT, json={**ASKED, "n": 4})
    refused(answer, 429)
    assert answer.headers["retry-after"] == "2"
    assert http.post(CHAT, json={**ASKED, "n": 3}).status_code == 200, "and the places come back"
    assert http.post(CHAT, json={**ASKED, "n": 3}).status_code == 200


class Broken(Scripted):
    """An engine whose model fails."""

    def submit(self, request, on_delta):
        self.asked.append(request)
        on_delta(ModelError("answer", got="CUDA is gone", need="a model that can go on"))
        return Said(self, request)


def test_an_engine_that_fails_is_500_in_the_same_shape():
    http = client(Broken())
    assert "CUDA is gone" in refused(http.post(CHAT, json=ASKED), 500)
    assert "CUDA is gone" in refused(http.post(CHAT, json={**ASKED, "stream": True}), 500)


def test_an_engine_that_is_gone_is_503_and_no_longer_well():
    engine = Broken()
    http = client(engine)
    assert http.get("/health").status_code == 200
    engine.gone = "vLLM ended with 5"
    assert "vLLM ended with 5" in refused(http.post(CHAT, json=ASKED), 503)
    assert not engine.asked, "nothing is asked of it"
    well = http.get("/health")
    assert (well.status_code, well.json()["status"]) == (
        503,
        "the engine is gone: vLLM ended with 5",
    )


class Dying(Broken):
    """An engine that goes while it is asked."""

    def submit(self, request, on_delta):
        self.gone = "out of everything"
        return super().submit(request, on_delta)


def test_an_engine_that_dies_of_a_request_is_503():
    assert "CUDA is gone" in refused(client(Dying()).post(CHAT, json=ASKED), 503)


class Surprised(Scripted):
    """An engine with a bug."""

    def submit(self, request, on_delta):
        raise KeyError("what another client said")


def test_a_bug_is_500_in_the_same_shape_and_tells_nothing_of_others():
    http = client(Surprised())
    assert "another client" not in refused(http.post(CHAT, json=ASKED), 500)


def test_every_number_of_a_response_is_json():
    """JSON has no infinity: a token that a bias has banned is told as any other."""
    text = client(Scripted("a")).post(CHAT, json={**ASKED, "logprobs": True}).text
    json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert math.isfinite(json.loads(text)["choices"][0]["logprobs"]["content"][0]["logprob"])
