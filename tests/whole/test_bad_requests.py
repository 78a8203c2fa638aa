"""Whatever a client sends: an error in OpenAI's shape that names the parameter, and no 5xx.

The server is good afterwards: the same question gets the same answer as before.
"""

import json
from collections import Counter

import httpx
import pytest

from live import TOKEN, listening
from serving import TOKENIZER, TOOLS, served
from tiny_model import tiny_model
from tunesmith.infer.batching import Batching
from tunesmith.infer.hf import split_stops
from tunesmith.serve.limits import Limits

CHAT, TEXT, VECTOR = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SAY = {"messages": [{"role": "user", "content": "Hello there!"}], "max_tokens": 4}
WRITE = {"prompt": "The quick brown", "max_tokens": 4}
LIMITS = Limits(body_bytes=200_000, answers=4, stops=4, stop_characters=32, seconds=20)
KINDS = {"invalid_request_error", "authentication_error", "rate_limit_error"}
FUNCTION = TOOLS[0]["function"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from transformers import AutoModelForCausalLM

    from tunesmith.infer.embeddings import embed

    directory = tiny_model(tmp_path_factory.mktemp("model"), "qwen3", max_position_embeddings=1024)
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    stop_ids, stop_texts = split_stops(TOKENIZER, ["<|im_end|>"])
    engine = Batching(model, TOKENIZER.backend, stop_ids=stop_ids, stop_texts=stop_texts)
    known = served(
        engine,
        limits=LIMITS,
        embed=lambda ids, _: engine.between(lambda: embed(model, ids)).result(),
    )
    with listening(known._replace(models={"tuned": known.voice("tuned")})) as found:
        yield found


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, headers=bearer(TOKEN), timeout=60) as made:
        before = made.post(CHAT, json={**SAY, "temperature": 0}).json()["choices"]
        yield made
        assert made.post(CHAT, json={**SAY, "temperature": 0}).json()["choices"] == before
        while "tunesmith_answers_active 0.0" not in made.get("/metrics").text:
            pass  # the last place is free a moment after its answer


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def error_of(response, status=None):
    """The error, its shape looked at."""
    assert 400 <= response.status_code < 500, response.text
    assert status in (None, response.status_code), response.text
    said = response.json()
    assert list(said) == ["error"]
    error = said["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"] in KINDS
    assert isinstance(error["code"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert "Traceback" not in error["message"]
    return error


def call(**more):
    function = {"name": "weather", "arguments": "{}", **more}
    return {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }


def tool(**more):
    return [{"type": "function", "function": {**FUNCTION, **more}}]


def picture(kind="image_url"):
    part = {"type": kind, kind: {"url": "data:image/png;base64,AA=="}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


def schema(of):
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": of}}


USER = {"role": "user", "content": "a"}
NUMBERS = {
    "temperature": (-0.1, 2.5, "1", None.__class__.__name__, [], True, 1e400),
    "top_p": (0, -1, 1.5, "0.9", {}),
    "top_k": (-2, 1.5, "4", 10**30),
    "min_p": (-0.5, 2, "0"),
    "repetition_penalty": (0, -1, 11, "1"),
    "presence_penalty": (-2.5, 3, "0"),
    "frequency_penalty": (-2.5, 3, []),
    "seed": (1.5, "7", 2**70),
    "n": (0, -1, 5, 1.5, "2", 10**12),
    "max_tokens": (0, -4, 1.5, "9", 10**30),
}
BOTH = [(name, {name: value}) for name, values in NUMBERS.items() for value in values] + [
    ("stream", {"stream": "yes"}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("stream_options", {"stream": True, "stream_options": {"include_use": True}}),
    ("stream_options", {"stream": True, "stream_options": 1}),
    ("stop", {"stop": ["a", "b", "c", "d", "e"]}),
    ("stop", {"stop": "x" * 33}),
    ("stop", {"stop": [1]}),
    ("stop", {"stop": {}}),
    ("logit_bias", {"logit_bias": {"999999": 1}}),
    ("logit_bias", {"logit_bias": {"word": 1}}),
    ("logit_bias", {"logit_bias": {"-1": 1}}),
    ("logit_bias", {"logit_bias": {"5": 101}}),
    ("logit_bias", {"logit_bias": {"5": "1"}}),
    ("logit_bias", {"logit_bias": [5]}),
    ("model", {"model": 5}),
    ("tempature", {"tempature": 1}),
    ("no_such_thing", {"no_such_thing": None}),
    ("user", {"user": 5}),
    ("metadata", {"metadata": "a"}),
]
OF_CHATS = [
    ("messages", {"messages": []}),
    ("messages", {"messages": "Hello"}),
    ("messages", {"messages": None}),
    ("messages", {"messages": ["Hello"]}),
    ("messages", {"messages": [{}]}),
    ("messages", {"messages": [{"role": "user"}]}),
    ("messages", {"messages": [{"content": "a"}]}),
    ("messages", {"messages": [{"role": "wizard", "content": "a"}]}),
    ("messages", {"messages": [{"role": 5, "content": "a"}]}),
    ("messages", {"messages": [{"role": "user", "content": 5}]}),
    ("messages", {"messages": [{"role": "user", "content": None}]}),
    ("messages", {"messages": [{"role": "user", "content": [5]}]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "smell", "smell": "a"}]}]}),
    ("messages", {"messages": [{**USER, "no_such_key": 1}]}),
    ("messages", {"messages": [{"role": "assistant"}]}),
    ("messages", {"messages": [USER, call(arguments="{no json")]}),
    ("messages", {"messages": [USER, call(arguments=5)]}),
    ("messages", {"messages": [USER, call(name=None)]}),
    ("messages", {"messages": [USER, {"role": "assistant", "tool_calls": [{}]}]}),
    ("messages", {"messages": [USER, {"role": "assistant", "tool_calls": "a"}]}),
    ("messages", {"messages": [{"role": "user", "content": "The quick brown fox " * 300}]}),
    ("messages", {"messages": picture()}),
    ("messages", {"messages": picture("input_audio")}),
    ("messages", {"messages": picture("video_url")}),
    ("max_completion_tokens", {"max_completion_tokens": 0}),
    ("max_tokens", {"max_tokens": 4, "max_completion_tokens": 5}),
    ("logprobs", {"logprobs": 1}),
    ("top_logprobs", {"top_logprobs": 3}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": -1}),
    ("tools", {"tools": {}}),
    ("tools", {"tools": [5]}),
    ("tools", {"tools": [{}]}),
    ("tools", {"tools": [{"type": "retrieval"}]}),
    ("tools", {"tools": [{"type": "function"}]}),
    ("tools", {"tools": [{"type": "function", "function": {}}]}),
    ("tools", {"tools": tool(name=5)}),
    ("tools", {"tools": tool(name="")}),
    ("tools", {"tools": tool(parameters="text")}),
    ("tools", {"tools": tool(parameters={"type": "no such type"}), "tool_choice": "required"}),
    ("tools", {"tools": tool(parameters={"type": "no such type"})}),
    ("tools", {"tools": tool(parameters={"properties": []})}),
    ("tools", {"tools": [*TOOLS, TOOLS[0]]}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tools": TOOLS, "tool_choice": "always"}),
    ("tool_choice", {"tools": TOOLS, "tool_choice": {"type": "function"}}),
    (
        "tool_choice",
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
    ),
    ("parallel_tool_calls", {"tools": TOOLS, "parallel_tool_calls": "no"}),
    ("response_format", {"response_format": "json"}),
    ("response_format", {"response_format": {"type": "xml"}}),
    ("response_format", {"response_format": {"type": "json_schema"}}),
    ("response_format", {"response_format": schema("text")}),
    ("response_format", {"response_format": schema({"type": "no such type"})}),
    ("response_format", {"response_format": schema({"$ref": "#/nowhere"})}),
    ("response_format", {"response_format": schema({"$ref": "http://127.0.0.1:1/a"})}),
    ("response_format", {"response_format": schema({"type": "string", "pattern": "(("})}),
    ("response_format", {"response_format": schema({"type": "integer", "minimum": "a"})}),
    ("response_format", {"response_format": {"type": "json_object"}, "tools": TOOLS}),
    ("functions", {"functions": [FUNCTION]}),
    ("modalities", {"modalities": ["audio"]}),
    ("audio", {"audio": {"voice": "a", "format": "wav"}}),
    ("reasoning_effort", {"reasoning_effort": "high"}),
    ("prediction", {"prediction": {"type": "content", "content": "a"}}),
    ("web_search_options", {"web_search_options": {}}),
    ("prompt", {"prompt": "a"}),
]
OF_TEXTS = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": []}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": 5}),
    ("prompt", {"prompt": {}}),
    ("prompt", {"prompt": [[]]}),
    ("prompt", {"prompt": ["a", ""]}),
    ("prompt", {"prompt": ["a", 5]}),
    ("prompt", {"prompt": [-1]}),
    ("prompt", {"prompt": [512]}),
    ("prompt", {"prompt": [10**30]}),
    ("prompt", {"prompt": [1.5]}),
    ("prompt", {"prompt": ["a"] * 5}),
    ("prompt", {"prompt": "The quick brown fox " * 300}),
    ("logprobs", {"logprobs": 21}),
    ("logprobs", {"logprobs": True}),
    ("echo", {"echo": True}),
    ("best_of", {"best_of": 3}),
    ("suffix", {"suffix": "a"}),
]
OF_VECTORS = [
    ("input", {"input": ""}),
    ("input", {"input": []}),
    ("input", {"input": None}),
    ("input", {"input": [""]}),
    ("input", {"input": [[]]}),
    ("input", {"input": [10**9]}),
    ("input", {"input": [-1]}),
    ("input", {"input": {"a": 1}}),
    ("input", {"input": ["a"] * 65}),
    ("input", {"input": "The quick brown fox " * 300}),
    ("encoding_format", {"encoding_format": "int8"}),
    ("dimensions", {"dimensions": 8}),
]
CASES = [(CHAT, SAY, *case) for case in BOTH + OF_CHATS]
CASES += [(TEXT, WRITE, *case) for case in BOTH + OF_TEXTS]
CASES += [(VECTOR, {"input": "Hello"}, *case) for case in OF_VECTORS]


@pytest.mark.parametrize(
    ("path", "good", "param", "bad"),
    CASES,
    ids=[f"{path[4:8]}-{param}-{json.dumps(bad)[:60]}" for path, _, param, bad in CASES],
)
def test_an_error_names_the_parameter(client, path, good, param, bad):
    sent = json.dumps({**good, **bad})
    error = error_of(client.post(path, content=sent, headers={"Content-Type": "application/json"}))
    named = str(error["param"])
    assert named == param or named.startswith((f"{param}.", f"{param}[")), error


def test_the_bodies_that_the_cases_begin_with_are_good(client):
    for path, body in ((CHAT, SAY), (TEXT, WRITE), (VECTOR, {"input": "Hello"})):
        assert client.post(path, json=body).status_code == 200


def test_an_unknown_parameter_is_answered_with_the_nearest(client):
    assert "temperature" in error_of(client.post(CHAT, json={**SAY, "tempature": 1}))["message"]


def test_what_changes_no_answer_is_taken(client):
    passed = {
        "user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto",
        "safety_identifier": "a", "prompt_cache_key": "a",
    }  # fmt: skip
    nothing = {
        "n": 1, "stop": None, "logit_bias": None, "tools": None, "response_format": None,
        "logprobs": False, "presence_penalty": 0, "stream": False, "stream_options": None,
    }  # fmt: skip
    assert client.post(CHAT, json={**SAY, **passed, **nothing}).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a": NaN}',
        b"\x00",
    ],
    ids=lambda sent: repr(sent[:6]),
)
@pytest.mark.parametrize("path", [CHAT, TEXT, VECTOR])
def test_a_body_that_is_no_object_is_told(client, path, sent):
    error_of(client.post(path, content=sent, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=a", "no such kind"])
def test_other_kinds_of_bodies_are_told(client, kind):
    sent = json.dumps(SAY)
    error_of(client.post(CHAT, content=sent, headers={"Content-Type": kind}))


def test_a_body_that_is_too_large_is_refused_told_or_not(client):
    text = "x" * 300_000
    said = {"messages": [{"role": "user", "content": text}]}
    error_of(client.post(CHAT, json=said), 413)

    def pieces():
        yield json.dumps(said).encode()

    error_of(client.post(CHAT, content=pieces()), 413)


def test_who_has_no_token_learns_nothing(address):
    with httpx.Client(base_url=address) as stranger:
        for headers in (
            {},
            bearer(TOKEN + "x"),
            bearer(TOKEN[:-1]),
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": b"Bearer \xff\xff"},
        ):
            for method, path in (
                ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/openapi.json"),
                ("POST", CHAT), ("POST", "/nowhere"), ("DELETE", "/v1/models/tuned"),
            ):  # fmt: skip
                answer = stranger.request(method, path, headers=headers)
                error = error_of(answer, 401)
                assert error["code"] == "invalid_api_key"
                assert TOKEN not in answer.text
        assert stranger.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("PUT", TEXT, 405),
        ("POST", "/v1/models", 405),
        ("GET", "/", 404),
        ("POST", "/v1/responses", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/%00", 404),
        ("POST", "/v1/chat/completions/", 404),
    ],
)
def test_other_places_and_methods_are_told(client, method, path, status):
    error_of(client.request(method, path), status)


@pytest.mark.parametrize("path", [CHAT, TEXT, VECTOR])
def test_an_unknown_model_is_told_with_those_that_are_there(client, path):
    body = {**SAY, **WRITE, "input": "a"}
    wanted = {CHAT: ("messages",), TEXT: ("prompt",), VECTOR: ("input",)}[path]
    said = {name: body[name] for name in wanted}
    error = error_of(client.post(path, json={**said, "model": "gpt-4"}), 404)
    assert error["param"] == "model"
    assert "tuned" in error["message"]


def test_deep_and_wide_values_are_told(client):
    deep = json.loads('{"a":' * 400 + "1" + "}" * 400)
    wide = {"anyOf": [{"const": i} for i in range(3000)]}
    for tried in (deep, wide):
        answer = client.post(CHAT, json={**SAY, "response_format": schema(tried)})
        assert answer.status_code == 200 or error_of(answer)
    error_of(client.post(CHAT, json={**SAY, "messages": [{"role": "user", "content": deep}]}), 400)


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 960, 980, 990, 1000, 2000, 20_000])
def test_values_as_deep_as_may_be_are_told(client, depth):
    for name in ("messages", "no_such_thing"):
        sent = '{"%s": ' % name + '[{"a": ' * depth + "1" + "}]" * depth + "}"  # noqa: UP031
        error_of(client.post(CHAT, content=sent, headers={"Content-Type": "application/json"}), 400)


def test_texts_of_every_kind_are_answered(client):
    for text in ("\x00", "\U0001f600", "é" * 3, "<|im_end|>", "\u202e", " ", "{{ 7*7 }}", "\r\n"):
        said = {"messages": [{"role": "user", "content": text}], "max_tokens": 2}
        assert client.post(CHAT, json=said).status_code == 200, text
    for lone in ('"\\ud83d"', '"\\udfff a"'):
        body = json.dumps(SAY).replace('"Hello there!"', lone)
        answer = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200 or error_of(answer)


@pytest.fixture(scope="module")
def document(client):
    import schemathesis

    said = client.get("/openapi.json").json()
    for path in said["paths"].values():  # what is wrong shall be the body, not the token
        for operation in path.values():
            operation.pop("security", None)
    return schemathesis.openapi.from_dict(said)


def generated(document, address, *, wrong, count):
    """Requests made from the document, with what they are answered: all looked at."""
    import requests
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from schemathesis import GenerationMode

    mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
    operations = [found.ok() for found in document.get_all_operations()]
    asking = [each for each in operations if each.method == "post"]
    assert {each.path for each in asking} == {CHAT, TEXT, VECTOR}
    statuses = Counter()

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(case=st.one_of(*(each.as_strategy(generation_mode=mode) for each in asking)))
    def ask(case):
        answer = case.call(base_url=address, headers=bearer(TOKEN), session=session)
        statuses[answer.status_code] += 1
        assert answer.status_code != 200 or not wrong, case.as_curl_command()
        if answer.status_code != 200:
            error_of(answer)

    with requests.Session() as session:
        ask()
    return statuses


def test_requests_that_our_document_calls_wrong_are_refused(document, client):
    statuses = generated(document, str(client.base_url), wrong=True, count=40)
    assert sum(statuses.values()) >= 40
    assert set(statuses) <= {400, 404, 413}


def test_requests_that_our_document_calls_right_break_nothing(document, client):
    statuses = generated(document, str(client.base_url), wrong=False, count=20)
    assert statuses[200], statuses


@pytest.mark.slow
def test_a_thousand_requests_that_our_document_calls_wrong_are_refused(document, client):
    statuses = generated(document, str(client.base_url), wrong=True, count=1000)
    assert sum(statuses.values()) >= 1000
    assert set(statuses) <= {400, 404, 413}
