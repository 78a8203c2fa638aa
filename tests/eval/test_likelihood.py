"""Likelihoods of continuations equal those of one at a time in fp64, however they share passes."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.eval import likelihood
from tunesmith.eval.likelihood import likelihoods
from tunesmith.models.load import load_model


def questions(count=7, seed=0):
    """Four continuations of each context, one of them of the context of another question."""
    draw = np.random.default_rng(seed)
    asked = []
    for _ in range(count):
        context = draw.integers(5, 500, draw.integers(1, 30)).tolist()
        asked += [(context, draw.integers(5, 500, n).tolist()) for n in (1, 2, 5, 9)]
    asked.append((asked[0][0] + asked[0][1], [7, 8]))
    return [asked[i] for i in draw.permutation(len(asked))]


def oracle(directory, asked):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64)
    found = []
    for context, continuation in asked:
        with torch.no_grad():
            logits = model(torch.tensor([context + continuation])).logits[0].log_softmax(1)
        said = logits[len(context) - 1 : -1]
        right = said.gather(1, torch.tensor(continuation)[:, None])
        found.append((float(right.sum()), said.argmax(1).tolist() == continuation))
    return found


def greedy(directory, context, count):
    model = AutoModelForCausalLM.from_pretrained(directory)
    ids = list(context)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(context) :]


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "mamba"])
@pytest.mark.parametrize("max_tokens", [40, 4000])
def test_they_are_those_of_each_alone(tmp_path, kind, max_tokens):
    directory = tiny_model(tmp_path, kind, tokenizer=False)
    asked = questions(3 if kind == "mamba" else 7)
    # one that the model would say itself
    asked.append((asked[0][0], greedy(directory, asked[0][0], 3)))
    right, told = oracle(directory, asked), []
    model = load_model(directory, dtype=torch.float32)
    found = likelihoods(
        model, asked, max_tokens=max_tokens, progress=lambda *figures: told.append(figures)
    )
    assert [each.greedy for each in found] == [hit for _, hit in right]
    assert right[-1][1]
    assert [each.logprob for each in found] == pytest.approx([sum_ for sum_, _ in right], abs=2e-4)
    assert told[-1] == (len(asked), len(asked))


def test_what_contexts_have_in_common_is_computed_once(tmp_path, monkeypatch):
    model = load_model(tiny_model(tmp_path, tokenizer=False), dtype=torch.float32)
    computed, score = [], likelihood.score

    def counted(model, batch, **keys):
        computed.append(len(batch.ids_T))
        return score(model, batch, **keys)

    monkeypatch.setattr(likelihood, "score", counted)
    context = list(range(5, 105))
    likelihoods(model, [(context, [n, n]) for n in range(10, 14)], max_tokens=4000)
    assert sum(computed) < 120


def test_a_model_in_training_is_left_so(tmp_path):
    model = load_model(tiny_model(tmp_path, tokenizer=False), dtype=torch.float32).train()
    likelihoods(model, [([5], [6])], max_tokens=100)
    assert all(module.training for module in model.modules())
    assert likelihoods(model, [], max_tokens=100) == []
