"""The trial leaves nothing behind, and its pace follows the work."""

from functools import partial

import numpy as np
import pytest
import torch

from seeing_run import seeing_run
from tiny_run import tiny_run
from tunesmith.compute.quantized import Quantized
from tunesmith.config.load import load
from tunesmith.training import trial
from tunesmith.training.asked_adapter import lora_spec
from tunesmith.training.material import gather
from tunesmith.training.report import Silent


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = load(tiny_run(tmp_path_factory.mktemp("run")))
    return run, gather(run, Silent())


def measured(found, *, free=1 << 33, kind="lora", lengths=(40, 90, 10)):
    run, material = found
    return trial.measure(
        run, material.directory, material.facts, material.precision,
        lengths=np.array(lengths), batch_tokens=200, head_tokens=20,
        trainable=material.trainable, kind=kind, free=free,
        spec=lora_spec(run) if kind == "lora" else None,
    )  # fmt: skip


def test_every_part_of_the_pace_is_measured(found):
    pace = measured(found)
    assert min(pace.per_step, pace.per_trained_token) > 0
    for passes in (pace.both, pace.forward):
        assert min(passes.per_batch, passes.per_token) > 0
        assert passes.per_square >= 0
    assert "2 layers" in pace.source


def test_it_leaves_the_random_state_alone(found, monkeypatch, tmp_path):
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    measured(found)
    assert torch.equal(torch.rand(3), expected)


def test_a_second_start_of_the_same_kind_does_not_measure_again(found, monkeypatch):
    pace = measured(found)
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setattr(trial, "_model", lambda *a, **k: pytest.fail("measured again"))
    assert measured(found) == pace


@pytest.mark.parametrize("other", ["processor", "threads", "lengths"])
def test_another_machine_or_other_data_is_measured_anew(found, monkeypatch, other):
    measured(found)
    tried = []
    monkeypatch.setattr(trial, "_model", lambda *a, **k: tried.append(1) or 1 / 0)
    if other == "processor":
        monkeypatch.setattr("tunesmith.training.memory.machine.processor", lambda: "another")
    if other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    why = measured(found, lengths=(40, 90, 11) if other == "lengths" else (40, 90, 10))
    assert why == "its layers do not run alone (ZeroDivisionError: division by zero)"
    assert tried


def test_a_process_knows_whether_it_made_a_trial_or_found_one(found, monkeypatch, tmp_path):
    measured(found)
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setattr(trial._Here, "tried", False)
    measured(found)
    assert not trial.made_here()
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    measured(found)
    assert trial.made_here()


def test_a_model_that_memory_cannot_hold_a_layer_of_is_not_tried(found):
    assert measured(found, free=1000) == "one layer is too large to be tried here"


@pytest.mark.parametrize(("kind", "all_learn"), [("full", True), ("freeze", True), ("lora", False)])
def test_the_models_own_weights_are_trained_in_the_trial_of_a_run_without_adapters(
    found, kind, all_learn, monkeypatch, tmp_path
):
    learn, made = [], trial._model

    def watched(*args, **keys):
        model = made(*args, **keys)
        learn.append({p.requires_grad for p in model.parameters()})
        return model

    monkeypatch.setattr(trial, "_model", watched)
    monkeypatch.setattr("tunesmith.training.remembered._known", {})
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    assert "measured" in measured(found, kind=kind).source
    assert learn == [{True} if all_learn else {True, False}]


def test_what_is_tried_is_held_in_the_bits_of_the_run(tmp_path, monkeypatch):
    pytest.importorskip("bitsandbytes")
    run = load(tiny_run(tmp_path, quantization_bit=4, bf16=True))
    material, tried = gather(run, Silent()), []
    made = trial._model
    monkeypatch.setattr(trial, "_model", lambda *a, **k: tried.append(made(*a, **k)) or tried[-1])
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    assert "measured" in measured((run, material)).source
    layer = tried[0].model.layers[0]
    assert isinstance(layer.mlp.up_proj.weight, Quantized)
    assert layer.mlp.up_proj.lora_A.requires_grad


def test_a_usual_document_fits_into_the_trial_though_others_are_short(found, monkeypatch):
    _, material = found
    monkeypatch.setattr(trial, "speed", lambda *arguments: 1e10)
    size = partial(trial._size, material.precision, material.facts, 10**7, 5000, adapters=True)
    short = size(long=20)[0]
    assert size(long=2 * short)[0] == 2 * short
    assert size(long=10**6)[0] == min(4 * short, 2048)


@pytest.mark.parametrize("tokens", [1, 10, 500])
def test_a_sample_holds_documents_of_the_run_and_never_more_tokens(tokens):
    lengths = np.random.default_rng(0).integers(1, 90, 400)
    chosen = trial.sample(lengths, tokens)
    assert sum(chosen) <= tokens
    assert chosen == [tokens] or set(chosen) <= set(lengths.tolist())


def test_a_model_whose_kinds_of_layer_follow_from_their_number_is_tried(tmp_path):
    run = load(tiny_run(
        tmp_path, kind="mamba", model={"num_hidden_layers": 6}, lora_target=["in_proj"]
    ))  # fmt: skip
    pace = measured((run, gather(run, Silent())))
    assert "layers" in pace.source


def test_a_trial_of_a_large_model_has_more_tokens_than_the_pass_that_is_taken_off(found):
    tokens, layers = trial._size(
        found[1].precision, found[1].facts, 10**9, batch_tokens=500, long=1, adapters=True
    )
    assert (tokens, layers) == (64, 1)


def test_what_learns_before_the_text_model_is_tried_through_it(tmp_path):
    """A projector alone: no weight of the tried layers learns, the gradient goes through all."""
    run = load(
        seeing_run(
            tmp_path, finetuning_type="full", lora_rank=None, freeze_multi_modal_projector=False,
            freeze_language_model=True,
        )
    )  # fmt: skip
    found = run, gather(run, Silent())
    pace = measured(found, kind="full")
    assert not isinstance(pace, str), pace
    assert pace.both.per_token > 0
