"""Loss and gradient of every tensor that learns, against the oracle."""

import numpy as np
import pytest
import torch

from oracle import oracle
from product_step import (
    NEAR,
    adapter_truth,
    assert_near,
    examples,
    load,
    splits,
    step,
    with_adapter,
)
from tiny_model import tiny_model
from tiny_run import tiny_rows, tiny_run
from tunesmith.compute import chance
from tunesmith.config.load import load as read_run
from tunesmith.data.batches import lay_out
from tunesmith.models.freeze import freeze, full
from tunesmith.training import planning
from tunesmith.training.job import Job
from tunesmith.training.material import gather
from tunesmith.training.memory.solve import MICRO_BATCH_TOKENS
from tunesmith.training.report import Silent

KINDS = ("llama", "qwen2", "qwen3", "gemma3_text", "gemma2", "mistral", "phi3")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_adapters_learn_as_the_oracle_says(tmp_path, kind, tied):
    directory = tiny_model(tmp_path, kind, tied=tied, tokenizer=False)
    model, rows = with_adapter(directory), examples(KINDS.index(kind))
    truth = adapter_truth(directory, model, rows)
    for name, batches in splits(rows).items():
        for checkpointing in (False, True):
            if checkpointing:
                assert chance.enable_checkpointing(model) == 2
            else:
                chance.enable_checkpointing(model, 0)
            assert_near(step(model, batches, chunk_tokens=13), truth), name


HEAD = ("q_proj", "down_proj", "lm_head")


@pytest.mark.parametrize(
    "keys",
    [
        {"dora": True}, {"pissa": -1}, {"target": HEAD}, {"dora": True, "target": HEAD},
        {"pissa": 8, "target": HEAD},
    ],
)  # fmt: skip
@pytest.mark.parametrize("tied", [True, False])
def test_every_kind_of_adapter_learns_as_the_oracle_says(tmp_path, keys, tied):
    directory = tiny_model(tmp_path, "qwen2", tied=tied, tokenizer=False)
    model, rows = with_adapter(directory, **keys), examples(2)
    if tied and "target" in keys:  # the oracle's head is one weight with the embedding
        directory = tiny_model(tmp_path, "qwen2", name="untied", tied=False, tokenizer=False)
        state = load(tmp_path / "qwen2").state_dict()
        truth = adapter_truth(directory, model, rows, state=state)
    else:
        truth = adapter_truth(directory, model, rows)
    for checkpointing in (None, 0):
        chance.enable_checkpointing(model, checkpointing)
        for name in ("one batch", "some batches"):
            assert_near(step(model, splits(rows)[name], chunk_tokens=13), truth)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize("tied", [True, False])
def test_all_weights_learn_as_the_oracle_says(tmp_path, kind, tied):
    directory = tiny_model(tmp_path, kind, tied=tied, tokenizer=False)
    model, rows = load(directory), examples(3)
    truth = oracle(directory, rows, learns=full(model))
    for checkpointing in (False, True):
        if checkpointing:
            assert chance.enable_checkpointing(model) == 2
        for batches in splits(rows).values():
            assert_near(step(model, batches, chunk_tokens=13), truth)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_some_layers_learn_as_the_oracle_says(tmp_path, kind):
    directory = tiny_model(tmp_path, kind, tokenizer=False)
    for seed, keys in enumerate(({"layers": 1}, {"layers": -1, "modules": ("mlp",)})):
        model, rows = load(directory), examples(seed)
        truth = oracle(directory, rows, learns=freeze(model, **keys))
        for checkpointing in (False, True):
            if checkpointing:
                assert chance.enable_checkpointing(model) == 2
            assert_near(step(model, splits(rows)["some batches"]), truth)


@pytest.mark.parametrize("seed", range(4))
def test_any_lengths_and_masks_give_the_oracles_step(tmp_path, seed):
    directory = tiny_model(tmp_path, "qwen2", tokenizer=False, seed=seed)
    model, rows = with_adapter(directory, rslora=bool(seed % 2)), examples(100 + seed)
    truth = adapter_truth(directory, model, rows)
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(rows))
    batches = lay_out(rows, order, max_tokens=int(draw.integers(45, 200)))
    assert_near(step(model, batches), truth)


class Unwatched:
    metrics_so_far = ()


@pytest.mark.parametrize("split", [(4, 1), (1, 4)])
@pytest.mark.parametrize("keys", [{}, {"packing": True, "cutoff_len": 64}], ids=["rows", "packs"])
def test_every_step_of_a_run_is_the_oracles_also_the_short_last_one(
    tmp_path, monkeypatch, split, keys
):
    """Loss and norm of the gradient of each step, over the rows that stand in it."""
    monkeypatch.setitem(MICRO_BATCH_TOKENS, "cpu", 90)
    size, accumulation = split
    path = tiny_run(tmp_path, rows=tiny_rows(30 if keys else 10), num_train_epochs=2, **keys,
                    per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
                    learning_rate=1e-12)  # fmt: skip
    run = read_run(path)
    material = gather(run, Silent())
    plan = planning.make(run, material)
    assert (plan.packs or plan.train_examples) % 4, "the last step of an epoch must be short"
    job = Job(run, plan, material, tmp_path, report=Silent())
    done = 0
    for got in job.steps(Unwatched()):
        rows = [material.data.train[i] for i in job.units.examples(got.number)]
        truth = adapter_truth(material.directory, job.model, rows)
        norm = sum(float(g.square().sum()) for g in truth.gradients.values()) ** 0.5
        assert got.loss == pytest.approx(truth.loss, rel=NEAR)
        assert got.grad_norm == pytest.approx(norm, rel=NEAR)
        assert got.weight == sum(int(row.trained.sum()) for row in rows)
        done += 1
    assert done == plan.steps


def test_checkpointing_does_not_change_what_dropout_drops(tmp_path):
    model = with_adapter(tiny_model(tmp_path, "llama", tokenizer=False), dropout=0.3)
    rows = examples(5)
    try:
        chance.seek(seed=0, step=1)
        loss, gradients = step(model, splits(rows)["some batches"])
        assert chance.enable_checkpointing(model) == 2
        again, recomputed = step(model, splits(rows)["some batches"])
        other, _ = step(model, splits(rows)["one batch"])
        chance.seek(seed=0, step=2)
        later, _ = step(model, splits(rows)["one batch"])
    finally:
        chance._Now.draw = None
    assert loss == again
    assert abs(other - loss) < NEAR * loss
    assert abs(later - loss) > 1e-4 * loss
    for name, value in gradients.items():
        assert torch.equal(recomputed[name], value), name
