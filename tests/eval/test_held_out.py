"""Held-out loss equals one sample at a time in fp64, whatever the batches are."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from alike import alike
from tiny_model import tiny_model
from tunesmith.errors import DataError
from tunesmith.eval.held_out import evaluate
from tunesmith.models.load import load_model
from tunesmith.types import Example, Origin


def _examples(count=9, seed=0):
    rng = np.random.default_rng(seed)
    examples = []
    for row in range(count):
        length = int(rng.integers(3, 30))
        trained = rng.random(length) < 0.5
        trained[0] = False
        ids = rng.integers(5, 500, length).astype(np.int32)
        examples.append(Example(ids, trained, Origin("d", "d.json", row + 1, row + 1)))
    return examples


def _oracle(directory, examples):
    """Loss and accuracy, one unpadded sample at a time, in fp64, straight from logits."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64)
    total, right, count = 0.0, 0, 0
    for ids, trained, *_ in examples:
        with torch.no_grad():
            logits = model(torch.tensor(ids[None].astype(np.int64))).logits[0]
        for place in np.flatnonzero(trained):
            logprobs = logits[place - 1].log_softmax(0)
            total -= float(logprobs[int(ids[place])])
            right += int(logprobs.argmax()) == int(ids[place])
            count += 1
    return total / count, right / count, count


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_the_loss_is_the_oracles_and_does_not_depend_on_the_batches(tmp_path, kind):
    directory, examples = tiny_model(tmp_path, kind), _examples()
    loss, accuracy, tokens = _oracle(directory, examples)
    model = load_model(directory, dtype=torch.float32)
    longest = max(len(example.ids) for example in examples)
    for max_tokens in (1, longest, 2 * longest, 3 * longest + 1, 10_000):
        found = evaluate(model, examples, max_tokens=max_tokens, want_accuracy=True)
        assert math.isclose(found["eval_loss"], loss, rel_tol=1e-6)
        assert math.isclose(found["eval_perplexity"], math.exp(loss), rel_tol=1e-5)
        assert found["eval_accuracy"] == accuracy
        assert found["eval_tokens"] == tokens


def test_tokens_are_weighed_not_rows(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    one, many = _examples(2)
    one = one._replace(trained=np.arange(len(one.ids)) == 1)
    many = many._replace(trained=np.arange(len(many.ids)) > 0)
    alone = [evaluate(model, [example], max_tokens=99) for example in (one, many)]
    sums = [found["eval_loss"] * found["eval_tokens"] for found in alone]
    both = evaluate(model, [one, many], max_tokens=99)
    assert math.isclose(both["eval_loss"], sum(sums) / both["eval_tokens"], rel_tol=1e-6)
    mean_of_means = (alone[0]["eval_loss"] + alone[1]["eval_loss"]) / 2
    assert not math.isclose(both["eval_loss"], mean_of_means, rel_tol=1e-3)


def test_a_row_without_a_trained_token_adds_nothing(tmp_path):
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), _examples(3)
    silent = examples[0]._replace(trained=np.zeros(len(examples[0].ids), dtype=bool))
    with_it = evaluate(model, [*examples, silent], max_tokens=50)
    without = evaluate(model, examples, max_tokens=50)
    assert math.isclose(with_it["eval_loss"], without["eval_loss"], rel_tol=1e-6)
    assert with_it["eval_tokens"] == without["eval_tokens"]


@pytest.mark.parametrize("examples", [[], "silent"])
def test_nothing_to_measure_is_an_error(tmp_path, examples):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    if examples == "silent":
        ids = np.array([5, 6, 7], dtype=np.int32)
        examples = [Example(ids, np.zeros(3, dtype=bool), Origin("d", "f", 1, 1))]
    with pytest.raises(DataError, match="held-out"):
        evaluate(model, examples, max_tokens=50)


def test_the_model_is_left_as_it_was_even_after_an_error(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    model.train()
    frozen = model.model.layers[0]
    frozen.eval()
    evaluate(model, _examples(2), max_tokens=50)
    assert model.training
    assert not frozen.training
    with pytest.raises(DataError):
        evaluate(model, [], max_tokens=50)
    assert model.training


def test_dropout_is_off_while_measuring(tmp_path):
    directory = tiny_model(tmp_path, "gpt2", embd_pdrop=0.5, resid_pdrop=0.5)
    model, examples = load_model(directory, dtype=torch.float32), _examples(3)
    model.train()
    losses = {evaluate(model, examples, max_tokens=50)["eval_loss"] for _ in range(3)}
    assert len(losses) == 1


def test_progress_counts_up_to_all_examples(tmp_path):
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), _examples(5)
    told = []
    found = evaluate(
        model, examples, max_tokens=20, progress=lambda done, of: told.append((done, of))
    )
    assert told[-1] == (5, 5)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert set(found) == {
        "eval_loss",
        "eval_perplexity",
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "eval_tokens",
    }


def test_memory_stays_flat_because_batches_are_laid_out_in_windows(tmp_path, monkeypatch):
    from tunesmith.eval import held_out

    monkeypatch.setattr(held_out, "_WINDOW_BATCHES", 1)
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), _examples(7)
    windows = list(held_out._batches(examples, 40, False))
    assert sorted(row for batch in windows for row in batch.rows) == list(range(7))
    loss = evaluate(model, examples, max_tokens=40)["eval_loss"]
    monkeypatch.setattr(held_out, "_WINDOW_BATCHES", 16)
    assert math.isclose(loss, evaluate(model, examples, max_tokens=40)["eval_loss"], rel_tol=1e-6)


def test_autocast_is_the_callers(tmp_path):
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), _examples(3)
    exact = evaluate(model, examples, max_tokens=50)["eval_loss"]
    rough = evaluate(
        model,
        examples,
        max_tokens=50,
        within=lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    )["eval_loss"]
    assert rough != exact
    assert math.isclose(rough, exact, rel_tol=0.02)


def test_each_dataset_has_the_figures_that_it_has_alone(tmp_path):
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), _examples()
    named = [
        e._replace(origin=e.origin._replace(dataset="ab"[i % 2])) for i, e in enumerate(examples)
    ]
    found = evaluate(model, named, max_tokens=60, want_accuracy=True, each_dataset=True)
    whole = evaluate(model, examples, max_tokens=60, want_accuracy=True)
    assert {key: found[key] for key in ("eval_loss", "eval_accuracy", "eval_tokens")} == {
        key: whole[key] for key in ("eval_loss", "eval_accuracy", "eval_tokens")
    }
    for number, name in enumerate("ab"):
        alone = evaluate(model, examples[number::2], max_tokens=60, want_accuracy=True)
        for figure in ("loss", "perplexity", "accuracy", "tokens"):
            assert math.isclose(
                found[f"eval_{name}_{figure}"], alone[f"eval_{figure}"], rel_tol=1e-6
            )
    assert "eval_a_loss" not in whole


@pytest.mark.parametrize("max_tokens", [50, 10_000])
def test_rows_that_share_their_beginnings_have_the_same_figures(tmp_path, max_tokens):
    model, examples = load_model(tiny_model(tmp_path), dtype=torch.float32), alike(1, count=14)
    named = [
        e._replace(origin=e.origin._replace(dataset="ab"[i % 2])) for i, e in enumerate(examples)
    ]
    want = {"max_tokens": max_tokens, "want_accuracy": True, "each_dataset": True}
    shared, apart = (evaluate(model, named, share=share, **want) for share in (True, False))
    for key in (key for key in apart if key.endswith(("loss", "accuracy", "tokens"))):
        assert math.isclose(shared[key], apart[key], rel_tol=1e-6), key
