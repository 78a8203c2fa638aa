"""OpenAI's own clients, through every feature that there is, against the real command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import openai
import pytest
import torch

from live import TOKEN, listening
from product_step import moved
from serving import TOOLS, Scripted, served
from tiny_model import tiny_model
from tunesmith.models import adapters
from tunesmith.models.load import load_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = Path(__file__).parent / "clients.mjs"
FEATURES = [
    "models", "chat", "streaming", "logprobs", "several", "seeds", "stops", "sampling", "tools",
    "parsed", "completions", "embeddings", "adapters", "errors", "leaving", "thoughts",
]  # fmt: skip
SAID = (
    "<think>\nWhich city? Both.\n</think>\n\nLet me look.\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "time", "arguments": {"city": "Rome"}}\n</tool_call>'
)
ASKED = {
    "model": "tuned", "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0, "max_tokens": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of `tunesmith serve`, over a tiny model named base and an adapter named tuned."""
    folder = tmp_path_factory.mktemp("served")
    directory = tiny_model(folder, "qwen3", name="base", max_position_embeddings=2048)
    model = load_model(directory, dtype=torch.float32)
    adapters.attach(model, adapters.LoraSpec(4, 8), seed=0)
    (folder / "adapter").mkdir()
    adapters.save_adapter(moved(model), folder / "adapter", str(directory))
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from clients import serving
    finally:
        sys.path.remove(str(BENCHMARKS))
    command = [
        sys.executable, "-m", "tunesmith", "serve", str(directory), "--port", "0",
        "--name", "tuned", "--json", f"adapter_name_or_path={folder / 'adapter'}", "template=qwen",
    ]  # fmt: skip
    environment = {"TUNESMITH_API_KEY": TOKEN}
    with serving(
        command, ready=r'"address": "([^"]+)/v1"', environment=environment, log=folder / "log.txt"
    ) as server:
        yield server.address
        assert server.end() == 0


@pytest.fixture(scope="module")
def talking():
    """Of a server whose model says what it is told."""
    with listening(served(Scripted(SAID), template="qwen3")) as found:
        yield found


def node_modules():
    """Where npm has put OpenAI's client."""
    places = (os.environ.get("NODE_MODULES"), Path(__file__).parents[2] / "node_modules")
    return next((Path(p) for p in places if p and (Path(p) / "openai").is_dir()), None)


@pytest.mark.slow
def test_the_client_for_node_finds_every_feature(address, talking, tmp_path):
    if not shutil.which("node") or node_modules() is None:
        pytest.skip("needs node, and openai from npm: npm install openai, or NODE_MODULES=DIR")
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules())
    done = subprocess.run(
        ["node", SCRIPT.name, address, TOKEN, talking], cwd=tmp_path, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"ok {name}" for name in FEATURES], (
        done.stdout + done.stderr
    )


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0) as made:
        yield made


def ask(client, **more):
    return client.chat.completions.create(**{**ASKED, **more})


def heard(stream):
    """(choices as they would be whole, the counts)"""
    choices, usage = {}, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            own = choices.setdefault(choice.index, {"text": "", "calls": {}, "logprobs": []})
            assert "finish" not in own, "nothing comes after the end"
            said = getattr(choice, "delta", None)
            own["text"] += (said.content if said else getattr(choice, "text", "")) or ""
            for call in (said.tool_calls if said else None) or ():
                named, given = own["calls"].get(call.index, ("", ""))
                function = call.function
                own["calls"][call.index] = (
                    named + (function.name or ""), given + (function.arguments or "")
                )  # fmt: skip
            own["logprobs"] += choice.logprobs.content if choice.logprobs else []
            if choice.finish_reason:
                own["finish"] = choice.finish_reason
    return [choices[i] for i in sorted(choices)], usage


def as_heard(choice):
    """A whole choice in the same form."""
    message = choice.message
    calls = [(c.function.name, c.function.arguments) for c in message.tool_calls or ()]
    return {
        "text": message.content or "",
        "calls": dict(enumerate(calls)),
        "logprobs": choice.logprobs.content if choice.logprobs else [],
        "finish": choice.finish_reason,
    }


CALLED = {"tools": TOOLS, "max_tokens": 300}
NAMED = {"type": "function", "function": {"name": "time"}}
SCHEMA = TOOLS[0]["function"]["parameters"]
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "found", "schema": SCHEMA}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 3, "temperature": 1, "seed": 5, "logprobs": True, "top_logprobs": 2},
        {"temperature": 1.1, "seed": 1, "top_p": 0.8, "presence_penalty": 1, "max_tokens": 30},
        {"frequency_penalty": 1.5, "extra_body": {"top_k": 9, "repetition_penalty": 1.3}},
        {"logit_bias": {"7": 100, "9": -100}, "stop": ["no", "never"]},
        {**CALLED, "tool_choice": "required"},
        {**CALLED, "tool_choice": NAMED},
        {"tools": TOOLS, "tool_choice": "none"},
        {"response_format": AS_SCHEMA, "max_tokens": 200},
        {"model": "base"},
    ],
    ids=lambda more: ",".join(more) or "plain",
)
def test_a_stream_says_what_the_whole_answer_says(client, more):
    whole = ask(client, **more)
    choices, usage = heard(ask(client, **more, stream=True, stream_options={"include_usage": True}))
    assert choices == [as_heard(choice) for choice in whole.choices]
    assert usage == whole.usage
    assert len(choices) == more.get("n", 1)
    if more.get("tool_choice") in ("required", NAMED):
        ((name, given),) = choices[0]["calls"].values()
        assert name == "time" or more["tool_choice"] != NAMED
        assert list(json.loads(given)) == ["city"]
        assert (choices[0]["finish"], choices[0]["text"]) == ("tool_calls", "")
    if "response_format" in more:
        assert list(json.loads(choices[0]["text"])) == ["city"]


def test_many_at_once_get_what_each_gets_alone(address, client):
    import asyncio

    wanted = [
        {
            "seed": i,
            "temperature": i % 2,
            "max_tokens": 5 + i,
            "model": ("tuned", "base")[i % 3 == 0],
        }
        for i in range(16)
    ]
    alone = [as_heard(ask(client, **each).choices[0]) for each in wanted]

    async def together():
        async with openai.AsyncOpenAI(
            base_url=f"{address}/v1", api_key=TOKEN, max_retries=0
        ) as many:
            asked = (many.chat.completions.create(**{**ASKED, **each}) for each in wanted)
            return await asyncio.gather(*asked)

    said = asyncio.run(together())
    assert [as_heard(each.choices[0]) for each in said] == alone


def test_completions_and_vectors_through_the_client(client):
    keys = {"model": "tuned", "temperature": 0, "max_tokens": 6}
    both = client.completions.create(prompt=["The quick", "Hello"], **keys)
    for choice, prompt in zip(both.choices, ("The quick", "Hello"), strict=True):
        choices, _ = heard(client.completions.create(prompt=prompt, stream=True, **keys))
        assert choices[0]["text"] == choice.text
    texts = ["Hello there!", "The quick brown fox"]
    packed = client.embeddings.create(model="tuned", input=texts)  # it asks for base64
    plain = client.embeddings.create(model="tuned", input=texts, encoding_format="float")
    assert [each.embedding for each in packed.data] == [each.embedding for each in plain.data]


def test_errors_are_the_clients_own_kinds(address, client):
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(client, model="gpt-4")
    assert unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as wrong:
        ask(client, temperature=9, stream=True)
    assert wrong.value.param == "temperature"
    stranger = client.with_options(api_key="other")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_thought_and_calls_through_the_client(talking):
    with openai.OpenAI(base_url=f"{talking}/v1", api_key=TOKEN, max_retries=0) as told:
        whole = ask(told, tools=TOOLS, max_tokens=None).choices[0]
        assert whole.message.reasoning_content == "Which city? Both."
        said = as_heard(whole)
        assert said["text"] == "Let me look."
        assert [name for name, _ in said["calls"].values()] == ["weather", "time"]
        assert heard(ask(told, tools=TOOLS, max_tokens=None, stream=True))[0] == [said]
