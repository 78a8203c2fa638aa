"""A server is asked by OpenAI's interface; what it refuses is one error."""

import json

import pytest

from loopback import Handler, Loopback
from tunesmith.errors import ModelError
from tunesmith.export.read_url import read
from tunesmith.export.said import Questions

ASKED = Questions([], [[{"role": "user", "content": "hi"}]], [], [], new_tokens=4)


class Server(Loopback):
    """Answers `content`, with what was asked kept."""

    def __init__(self, *, status=200, logprobs=True, usage=True):
        asked = self.asked = []

        class Answers(Handler):
            def do_GET(self):
                self.send(200, json.dumps({"data": [{"id": "own"}]}).encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((body, self.headers.get("Authorization")))
                listed = [{"token": "x", "logprob": -0.5}, {"token": "y", "logprob": -0.25}]
                said = {
                    "choices": [
                        {
                            "message": {"content": "x y"},
                            "logprobs": {"content": listed} if logprobs else None,
                        }
                    ],
                    "usage": {"prompt_tokens": 9} if usage else None,
                }
                self.send(status, json.dumps(said).encode())

        super().__init__(Answers)


def test_the_answer_its_numbers_and_the_length_of_the_prompt_are_read():
    with Server() as server:
        said = read(f"{server.url}/v1", ASKED, key="secret")
        assert said.texts == ["x y"]
        assert said.logprobs == [[-0.5, -0.25]]
        assert said.counts == [9]
        assert (said.ids, said.rows, said.template) == (None, None, None)
        (body, key) = server.asked[0]
    assert key == "Bearer secret"
    assert body["model"] == "own"
    assert (body["temperature"], body["max_tokens"]) == (0, 4)
    assert body["messages"] == ASKED.prompts[0]


def test_what_it_does_not_give_is_none():
    with Server(logprobs=False, usage=False) as server:
        said = read(server.url, ASKED, name="mine")
        assert (said.logprobs, said.counts) == (None, None)
        assert server.asked[0][0]["model"] == "mine"


def test_a_refusal_and_a_missing_server_are_one_error_each():
    with Server(status=401) as server, pytest.raises(ModelError, match="401") as caught:
        read(server.url, ASKED)
    assert "--api-key" in caught.value.hint
    with pytest.raises(ModelError, match=r"127\.0\.0\.1"):
        read(server.url, ASKED)
