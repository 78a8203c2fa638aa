"""Several adapters in one server answer as each does in a server of its own."""

import shutil

import pytest
from fastapi.testclient import TestClient

from tiny_run import tiny_run, train
from tunesmith.cli import answering, voices
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.serve.app import build
from tunesmith.training.report import Silent

ASKED = {
    "messages": [{"role": "user", "content": "Say one 0."}],
    "temperature": 0,
    "logprobs": True,
}
FAST = {"learning_rate": 3e-2, "num_train_epochs": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run files of three trainings over one base, the last one in another template."""
    folder = tmp_path_factory.mktemp("runs")
    model = {"max_position_embeddings": 256}
    keys = (
        {"seed": 1},
        {"seed": 2, "additional_target": "embed_tokens"},
        {"seed": 3, "template": "alpaca", "lora_rank": 2},
    )
    paths = []
    for number, own in enumerate(keys):
        place = folder / str(number)
        place.mkdir()
        if paths:
            shutil.copytree(folder / "0" / "model", place / "model")
        # every run has the base at a path of its own: what it is counts, not where
        path = tiny_run(place, model=model, **FAST, **own)
        train(path)
        paths.append(path)
    return paths


def offered(path, *given, name=None):
    """(what is served, the notes) for a run and further adapters."""
    run = load(path, ())
    found = answering.find(run, Silent())
    beside = voices.find_beside(run, found, given, Silent(), name=name)
    notes = [note for each in (found, *beside.values()) for note in each.notes]
    return voices.served_for(run, found, beside, Silent(), name=name, slots=4), notes


def answers(served):
    """What every model answers, and its vector."""
    app, _ = build(served, token=None, places=4)
    http, said = TestClient(app), {}
    for model in served.models:
        whole = http.post("/v1/chat/completions", json={**ASKED, "model": model, "max_tokens": 12})
        vector = http.post("/v1/embeddings", json={"model": model, "input": [5, 6, 7]}).json()
        choice = whole.json()["choices"][0]
        said[model] = (choice["message"], choice["logprobs"], vector["data"][0]["embedding"])
    served.engine.close()
    return said


def test_each_answers_as_in_a_server_of_its_own(runs):
    alone = [answers(offered(path)[0]) for path in runs]
    together, notes = offered(runs[0], *(f"m{n}={runs[n].parent / 'out'}" for n in (1, 2)))
    assert list(together.models) == ["out", "model", "m1", "m2"]
    said = answers(together)
    assert said["out"] == alone[0]["out"]
    assert said["model"] == alone[0]["model"] == alone[1]["model"]
    assert said["m1"] == alone[1]["out"]
    assert said["m2"] == alone[2]["out"]
    vectors = [vector for _, _, vector in said.values()]
    assert all(a != b for i, a in enumerate(vectors) for b in vectors[:i])
    # each run file was written by its own training: none is said to be of another template
    assert not [note for note in notes if "weights" in note]


def test_a_model_without_adapter_is_the_usual_one_beside_them(runs):
    run = runs[0].parent / "model"
    asked = load(None, {"model_name_or_path": str(run), "template": "chatml", "bf16": False})
    found = answering.find(asked, Silent())
    beside = voices.find_beside(asked, found, [f"a={runs[0].parent / 'out'}"], Silent(), name="b")
    served = voices.served_for(asked, found, beside, Silent(), name="b", slots=2)
    said, alone = answers(served), answers(offered(runs[0])[0])
    assert list(said) == ["b", "a"]
    assert said["a"] == alone["out"]
    assert said["b"] == alone["model"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["law"], "NAME=DIR"),
        (["=x"], "NAME=DIR"),
        (["law="], "NAME=DIR"),
        (["out=DIR"], "another model is called"),
        (["model=DIR"], "another model is called"),
        (["a=DIR", "a=DIR"], "another model is called"),
        (["a=MODEL"], "adapter_config.json"),
        (["a=/not/there"], "/not/there"),
    ],
)
def test_bad_ones_are_one_clear_error(runs, given, told, capsys):
    here = runs[0].parent
    given = [
        x.replace("DIR", str(here / "out")).replace("MODEL", str(here / "model")) for x in given
    ]
    flags = [part for each in given for part in ("--adapter", each)]
    assert main(["serve", str(runs[0]), "--port", "0", *flags]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("error") == 1


def test_a_run_with_several_adapters_has_no_base_to_share(runs):
    first, second = (str(path.parent / "out") for path in runs[:2])
    run = load(runs[0], [f'adapter_name_or_path=["{first}", "{second}"]'])
    found = answering.find(run, Silent())
    with pytest.raises(ConfigError, match="2 adapters"):
        voices.find_beside(run, found, [f"a={first}"], Silent(), name=None)


def test_an_adapter_of_another_shape_is_refused(runs, tmp_path):
    other = tiny_run(tmp_path, model={"hidden_size": 32}, num_train_epochs=1)
    train(other)
    with pytest.raises(ModelError, match="out"):
        offered(runs[0], f"a={other.parent / 'out'}")


def test_a_tokenizer_of_its_own_is_refused(runs, tmp_path):
    other = tiny_run(tmp_path, add_tokens="<mine>", resize_vocab=True, num_train_epochs=1)
    train(other)
    with pytest.raises(ConfigError, match="another tokenizer"):
        offered(runs[0], f"a={other.parent / 'out'}")
