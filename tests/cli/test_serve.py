"""The server as a process, asked by OpenAI's own client."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest

from serving import TOOLS
from tiny_model import tiny_model
from tunesmith.cli.main import main


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    directory = tiny_model(
        tmp_path_factory.mktemp("model"), tokenizer=True, max_position_embeddings=2048
    )
    command = [sys.executable, "-m", "tunesmith", "serve", str(directory), "--port", "0", "--json"]
    made = subprocess.Popen(
        [*command, "template=qwen", "max_new_tokens=8"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    yield made, json.loads(made.stdout.readline())
    made.kill()
    made.wait()
    made.stdout.close()


@pytest.fixture
def client(process):
    facts = process[1]
    with openai.OpenAI(base_url=facts["address"], api_key=facts["api_key"], max_retries=0) as made:
        yield made


ASKED = {"model": "llama", "messages": [{"role": "user", "content": "What?"}], "temperature": 0}


def test_a_chat_whole_and_streamed(client):
    assert [model.id for model in client.models.list()] == ["llama"]
    whole = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2, n=2)
    assert whole.usage.completion_tokens == 16
    assert whole.choices[0].finish_reason == "length"
    assert whole.choices[0].message.content == whole.choices[1].message.content
    assert len(whole.choices[0].logprobs.content) == 8
    stream = client.chat.completions.create(
        **ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8


def test_a_seed_means_the_same_answer(client):
    keys = {**ASKED, "temperature": 1.5, "max_tokens": 8}
    said = [
        client.chat.completions.create(**keys, seed=seed).choices[0].message.content
        for seed in (1, 1, 2, 3, 4)
    ]
    assert said[0] == said[1]
    assert len(set(said)) > 1


def test_answers_are_held_to_what_is_asked(client):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    keys = {**ASKED, "max_tokens": 200}
    said = client.chat.completions.create(**keys, response_format=wanted)
    assert json.loads(said.choices[0].message.content)["kind"] in ("a", "b")
    for stream in (False, True):
        said = client.chat.completions.create(
            **keys, tools=TOOLS, tool_choice="required", stream=stream
        )
        if stream:
            calls = [c for chunk in said for c in chunk.choices[0].delta.tool_calls or ()]
        else:
            calls = said.choices[0].message.tool_calls
            assert said.choices[0].finish_reason == "tool_calls"
        assert [set(json.loads(c.function.arguments)) for c in calls] == [{"city"}]


def test_completions_and_embeddings(client):
    said = client.completions.create(model="llama", prompt="What", max_tokens=4, logprobs=1)
    assert len(said.choices[0].logprobs.tokens) == 4
    vectors = client.embeddings.create(model="llama", input=["one", "two"]).data
    assert abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-4
    assert vectors[0].embedding != vectors[1].embedding


def test_the_code_of_the_page_runs_as_it_stands(process, capsys):
    facts = process[1]
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf8")
    code = page.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:8000/v1", facts["address"])
    scope = {"api_key": facts["api_key"]}
    exec(compile(code, "serve.md", "exec"), scope)
    scope["client"].close()
    assert len(capsys.readouterr().out) > 5


def test_errors_are_the_clients_own(client, process):
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(**{**ASKED, "temperature": 3})
    assert bad.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**ASKED, "model": "other"})
    with (
        openai.OpenAI(base_url=process[1]["address"], api_key="x", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_it_ends_well_when_it_is_told_to(process):
    made, facts = process
    assert httpx.get(facts["address"].replace("/v1", "/health")).json() == {"status": "ok"}
    made.send_signal(signal.SIGTERM)
    assert made.wait(60) == 0


def test_what_cannot_be_served_is_one_clear_error(tmp_path, capsys):
    directory = str(tiny_model(tmp_path, tokenizer=True))
    for keys, told in (
        (["--host", "0.0.0.0"], "--api-key KEY"),
        (["--slots", "0"], "--slots"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--port", "70000"], "--port 70000"),
        (["--api-key", "a b"], "ASCII"),
    ):
        assert main(["serve", directory, *keys]) == 2
        assert told in capsys.readouterr().err
