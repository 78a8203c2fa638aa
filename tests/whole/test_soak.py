"""What `benchmarks/soak.py` and `serve.py` measure, on a tiny model for a moment."""

import re
import sys
from pathlib import Path

import pytest

from tiny_model import tiny_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from clients import ours

    folder = tmp_path_factory.mktemp("served")
    directory = tiny_model(folder, "qwen3", max_position_embeddings=2048)
    with ours(directory, folder, threads=1, slots=3, keys={"template": "qwen"}) as found:
        yield found


def test_every_answer_under_load_is_the_one_alone_and_another_would_be_seen(server):
    from soak import questions, soak

    asked = questions(3, tokens=6, longest=30)
    alone = {i: server.client.whole(*question) for i, question in enumerate(asked)}
    assert len({each.texts for each in alone.values()}) > len(asked) // 2
    alone[5] = alone[5]._replace(logprobs=((-0.25,),))
    found = soak(server, asked, clients=6, seconds=3, alone=alone)
    assert found.counts["other"] >= 1
    assert len(found.troubles) == found.counts["other"], found.troubles
    assert all(re.match(r"other: (streamed |whole )?5\b", each) for each in found.troubles)
    assert found.counts["streamed"]
    assert found.counts["whole"]
    assert found.counts["left"]
    assert len(found.mib) > 10


def test_a_server_that_does_not_answer_is_an_error(server):
    from clients import Client
    from soak import questions, soak

    asked = questions(3, tokens=2, longest=4)[:3]
    stranger = server._replace(client=Client(server.address, "other"))
    with pytest.raises(Exception, match="401"):
        soak(stranger, asked, clients=1, seconds=0.1)


def test_tokens_are_counted_by_the_server_and_answers_compared(server):
    import serve

    prompts = [f"Say {i}" for i in range(6)]
    said = {}
    how = {"clients": 3, "tokens": 5, "said": said}
    first = serve.rate(server, "served", prompts, **how)
    assert (first.tokens, first.answers, first.same) == (30, 6, 6)
    assert first.cpu > 0 < first.seconds
    said[prompts[2]] = said[prompts[2]]._replace(texts=("another",))
    assert serve.rate(server, "served", prompts, **how).same == 5


def test_growth_is_the_end_over_the_beginning():
    from soak import growth

    assert growth([50, 60, 100, 100, 100, 100, 100, 100, 110, 110]) == pytest.approx(10)
