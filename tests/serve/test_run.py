"""A server on a socket: who leaves makes room, who stops it lets answers end."""

import asyncio
import http.client
import json
import threading
import time

import pytest
import torch
import uvicorn

from serving import TOKENIZER, served, spoken
from tiny_model import tiny_model
from tunesmith.errors import ConfigError
from tunesmith.infer.batching import Batching
from tunesmith.infer.forward import Packed
from tunesmith.models.load import load_model
from tunesmith.serve import run as serving
from tunesmith.serve.app import build

LONG = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 400, "temperature": 0}


class Slow(Packed):
    """A model that is still answering when a test looks."""

    def extend(self, new):
        time.sleep(0.03)
        return super().extend(new)


@pytest.fixture
def running(tmp_path):
    """(engine, port, room, how to stop it) of a server with one place and no end of answers."""
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    forward = Slow(model)
    engine = Batching(model, TOKENIZER.backend, stop_ids=frozenset(), slots=1, forward=forward)
    known = spoken(served(engine), stop_ids=frozenset(), stop_texts=())
    app, room = build(known, token=None, places=1)
    listening = serving.bind("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, lifespan="off")
    server = serving.Server(config, room, lambda address: begun.set())
    begun = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    assert begun.wait(60)

    def stop():
        server.should_exit = True

    yield engine, listening.getsockname()[1], room, stop
    stop()
    thread.join(60)
    engine.close()
    listening.close()
    assert not thread.is_alive()


def post(port, body, path="chat/completions"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(
        "POST", f"/v1/{path}", json.dumps(body), {"Content-Type": "application/json"}
    )
    return connection


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    return connection


def until(wanted):
    end = time.monotonic() + 20
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_makes_room_for_the_next(running, stream):
    engine, port, room, _ = running
    leaving = post(port, {**LONG, "stream": stream})
    leaving_answer = leaving.getresponse() if stream else None
    if leaving_answer:
        leaving_answer.read(10)
    until(lambda: engine.load == (1, 0))
    waiting = post(port, {**LONG, "max_tokens": 2, "stream": stream})
    until(lambda: engine.load == (1, 1))
    impatient = post(port, {**LONG, "stream": stream})
    until(lambda: engine.load == (1, 2))
    impatient.close()
    until(lambda: engine.load == (1, 1))  # from the queue too
    if leaving_answer:
        leaving_answer.close()
    leaving.close()
    answer = waiting.getresponse()
    assert answer.status == 200
    assert answer.read()
    waiting.close()
    until(lambda: engine.load == (0, 0))
    until(lambda: room.taken == 0)


def test_a_server_that_is_stopped_ends_its_answers_and_takes_no_more(running):
    engine, port, room, stop = running
    asked = post(port, {**LONG, "max_tokens": 100})
    until(lambda: engine.load == (1, 0))
    stop()
    until(lambda: room.closing)
    for new in (post(port, LONG), get(port, "/health"), post(port, {"input": "a"}, "embeddings")):
        refused = new.getresponse()
        assert refused.status == 503
        assert b"shutting down" in refused.read()
        new.close()
    answer = json.loads(asked.getresponse().read())
    asked.close()
    assert answer["usage"]["completion_tokens"] == 100
    with pytest.raises(ConnectionError):  # refused, or reset where it was waiting to be taken
        until(lambda: post(port, LONG).close())


def test_other_machines_need_a_token_that_somebody_chose():
    made, is_made = serving.choose_token("127.0.0.1", None)
    assert is_made
    assert len(made) >= 32
    assert made != serving.choose_token("127.0.0.1", None)[0]
    assert serving.choose_token("0.0.0.0", "abc") == ("abc", False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="other machines"):
            serving.choose_token(host, None)
    for bad in ("", "a b", "schlüssel", "a\nb"):
        with pytest.raises(ConfigError, match="--api-key"):
            serving.choose_token("127.0.0.1", bad)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_this_machine(host):
    assert serving.is_loopback(host)


def test_an_address_that_cannot_be_had_is_one_clear_error():
    taken = serving.bind("127.0.0.1", 0)
    taken.listen()
    for host, port in (("127.0.0.1", taken.getsockname()[1]), ("203.0.113.7", 0), ("::1", 99999)):
        with pytest.raises(ConfigError, match="--port 0"):
            serving.bind(host, port)
    taken.close()
