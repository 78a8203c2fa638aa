"""vLLM in `serve` and `predict`, by a stand-in: the same answers; what it cannot do is refused."""

import json
import shutil

import pytest
from fastapi.testclient import TestClient

from standin_vllm import standing_in
from tiny_run import tiny_run, train
from tunesmith.cli import answering, voices
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.serve.app import build
from tunesmith.training.report import Silent

GREEDY = ("infer_dtype=float32", "do_sample=false", "max_new_tokens=10")
ASKED = {"messages": [{"role": "user", "content": "Say two."}], "max_tokens": 10, "temperature": 0}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A trained run with held-out rows."""
    folder = tmp_path_factory.mktemp("run")
    model = {"max_position_embeddings": 256}
    found = tiny_run(folder, val_size=3, learning_rate=3e-2, model=model)
    train(found)
    return found


def asked(path, *overrides):
    """What is served, to the messages that it answers with."""
    run = load(path, overrides)
    found = answering.find(run, Silent())
    served = voices.served_for(run, found, {}, Silent(), name="mine", slots=4)
    app, _ = build(served, token=None, places=4)
    http, said = TestClient(app), {}
    for model in served.models:
        whole = http.post("/v1/chat/completions", json={**ASKED, "model": model, "logprobs": True})
        assert whole.status_code == 200, whole.text
        choice = whole.json()["choices"][0]
        tokens = [token["token"] for token in choice["logprobs"]["content"]]
        said[model] = choice["message"], choice["finish_reason"], tokens
    served.engine.close()
    return said


def test_serve_answers_the_same(path, monkeypatch):
    ours = asked(path, "infer_dtype=float32")
    standing_in(monkeypatch)
    assert asked(path, "infer_dtype=float32", "infer_backend=vllm") == ours
    assert len(ours) == 2


def test_predict_writes_the_same(path, tmp_path, monkeypatch, capsys):
    def predicted(name, *more):
        out = tmp_path / name
        assert main(["predict", str(path), "--output", str(out), *GREEDY, *more]) == 0
        capsys.readouterr()
        lines = (out / "generated_predictions.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    ours = predicted("ours")
    standing_in(monkeypatch)
    assert predicted("theirs", "infer_backend=vllm") == ours
    assert len(ours) == 3


def test_predict_counts_the_room_that_vllm_has(path, tmp_path, monkeypatch, capsys):
    standing_in(monkeypatch)
    keys = ["infer_backend=vllm", "vllm_maxlen=40", "max_new_tokens=39", "infer_dtype=float32"]
    assert main(["predict", str(path), "--output", str(tmp_path / "out"), *keys]) == 0
    assert "the context of 40 tokens leaves less than max_new_tokens 39" in capsys.readouterr().out


def refused(path, *overrides):
    """The error of a server that does not begin."""
    run = load(path, overrides)
    with pytest.raises(ConfigError) as caught:
        voices.served_for(run, answering.find(run, Silent()), {}, Silent(), name=None, slots=4)
    return caught.value


def test_without_vllm_nothing_is_loaded(path, capsys):
    assert main(["serve", str(path), "infer_backend=vllm", "--port", "0"]) == 2
    assert 'pip install "tunesmith[vllm]"' in capsys.readouterr().err


def test_without_vllm_nothing_is_written(path, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(path), "infer_backend=vllm", "--output", str(out)]) == 2
    assert "not installed" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("keys", [{"use_dora": True}, {"additional_target": "norm"}])
def test_what_vllm_cannot_serve_is_refused_before_it_starts(path, tmp_path, monkeypatch, keys):
    shutil.copytree(path.parent / "model", tmp_path / "model")
    other = tiny_run(tmp_path, max_steps=1, **keys)
    train(other)
    standing_in(monkeypatch, STANDIN_FAILS="1")
    assert refused(other, "infer_backend=vllm").need == "adapters of low-rank matrices alone"


def test_where_vllm_listens_is_not_for_its_options_to_say(path, monkeypatch):
    standing_in(monkeypatch, STANDIN_FAILS="1")
    error = refused(path, "infer_backend=vllm", "vllm_config={host: 0.0.0.0, port: 1}")
    assert error.got == "host, port"


def test_quantised_weights_are_not_rounded_twice(path, monkeypatch):
    standing_in(monkeypatch)
    error = refused(path, "infer_backend=vllm", "quantization_bit=8")
    assert "vLLM would round them otherwise" in str(error)


@pytest.mark.parametrize("verb", ["chat", "eval"])
def test_verbs_that_look_into_the_model_say_so(path, capsys, verb):
    assert main([verb, str(path), "infer_backend=vllm"]) == 2
    assert f"{verb} looks into the model" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_precision_that_is_asked_for_computes(path, name):
    run = load(path, (f"infer_dtype={name}",))
    model = answering.load(run, answering.find(run, Silent()))
    assert str(model.dtype) == f"torch.{name}"


def test_a_precision_that_is_not_here_is_refused(path):
    run = load(path, ("infer_dtype=float16",))
    with pytest.raises(ConfigError) as caught:
        answering.load(run, answering.find(run, Silent()))
    assert caught.value.where.endswith("infer_dtype")


def test_the_usual_precision_is_that_of_training(path):
    run = load(path)
    model = answering.load(run, answering.find(run, Silent()))
    assert str(model.dtype) == "torch.float32"
