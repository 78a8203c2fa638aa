"""QLoRA from file to answer: what is told, gone on with, measured, asked and exported."""

import json

import pytest
from safetensors import safe_open

from tiny_run import tiny_run, train
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.errors import OutputError
from tunesmith.training import run as training
from tunesmith.training.report import Silent


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("quantised")
    path = tiny_run(home, quantization_bit=4, val_size=3, max_steps=4)
    return home, path, train(path)


def said(capsys, *arguments):
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def test_the_plan_tells_how_the_base_is_held(trained):
    assert "over a 4-bit nf4 (bnb, double quantisation) base" in trained[2].plan.text()


def test_the_weights_of_the_plan_take_less_memory_for_fewer_bits(tmp_path):
    path = tiny_run(tmp_path, model={"hidden_size": 256, "intermediate_size": 1024})
    held = [
        training.plan(load(path, keys), Silent())[0].memory_components["weights"]
        for keys in ({}, {"quantization_bit": 8}, {"quantization_bit": 4})
    ]
    assert held[0] > held[1] > held[2]


def test_another_way_to_hold_the_base_is_another_plan(trained):
    _, path, _ = trained
    for keys in (
        {"quantization_type": "fp4"},
        {"quantization_bit": 8},
        {"double_quantization": False},
    ):
        with pytest.raises(OutputError) as caught:
            train(path, **keys)
        assert next(iter(keys)) in caught.value.got


def test_asked_again_the_held_out_loss_is_that_of_the_run(trained, capsys):
    home, path, result = trained
    for target in (path, home / "out"):
        metrics = json.loads(said(capsys, "eval", target, "--json"))
        assert metrics["eval_loss"] == pytest.approx(result.metrics["eval_loss"], rel=1e-6)
        assert not any("trained over" in note for note in metrics["notes"])
    dense = json.loads(said(capsys, "eval", path, "--json", "quantization_bit=null"))
    assert dense["eval_loss"] != pytest.approx(result.metrics["eval_loss"], rel=1e-6)
    assert any("trained over the base in 4-bit nf4" in note for note in dense["notes"])


def test_the_adapter_remembers_how_its_base_was_held(trained):
    with safe_open(trained[0] / "out" / "adapter_model.safetensors", "pt") as file:
        assert file.metadata()["tunesmith_quantization"] == "4-bit nf4 (bnb, double quantisation)"


def test_the_export_is_dense_and_says_how_far_it_is_from_what_was_trained(trained, capsys):
    home, path, _ = trained
    out = said(capsys, "export", path, f"export_dir={home / 'merged'}")
    assert "trained over a 4-bit nf4" in out
    assert "nats" in out
    with safe_open(home / "merged" / "model.safetensors", "pt") as file:
        kinds = {str(file.get_tensor(name).dtype) for name in file.keys()}  # noqa: SIM118
    assert kinds == {"torch.float32"}


def test_new_tokens_learn_beside_a_quantised_base(tmp_path):
    path = tiny_run(
        tmp_path, quantization_bit=4, max_steps=2, resize_vocab=True, add_tokens="zebra"
    )
    assert train(path).status == "trained"
