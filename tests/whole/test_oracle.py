"""Loss and gradient of every tensor that learns, against the oracle."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from oracle import Adapter, distance, oracle
from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tiny_run import tiny_rows, tiny_run
from tunesmith.compute import attention, chance
from tunesmith.config.load import load as read_run
from tunesmith.data.batches import lay_out
from tunesmith.models import adapters
from tunesmith.models.freeze import freeze, full
from tunesmith.stages.sft import loss_of
from tunesmith.training import planning
from tunesmith.training.job import Job
from tunesmith.training.material import gather
from tunesmith.training.memory.solve import MICRO_BATCH_TOKENS
from tunesmith.training.report import Silent

KINDS = ("llama", "qwen2", "qwen3", "gemma3_text", "gemma2", "mistral", "phi3")
NEAR = 1e-5


def load(directory):
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=torch.float32
    ).train()


def examples(seed):
    """Random lengths and masks, rows of one trained token, of none, of length 1."""
    draw = np.random.default_rng(seed)
    rows = random_examples(
        (*draw.integers(2, 45, 5), 6, 9, 1), share=draw.uniform(0.1, 1), seed=seed
    )
    rows[5].trained[:] = [False] * 5 + [True]
    rows[6].trained[:] = False
    return rows


def step(model, batches, **keys):
    """Loss and gradients of one step, as the loop computes them."""
    loss_for, total, weight = loss_of(**keys), 0.0, 0.0
    model.zero_grad(set_to_none=True)
    for batch in batches:
        loss = loss_for(model, batch)
        loss.total.backward()
        total, weight = total + loss.total.item(), weight + loss.weight.item()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return total / weight, {n: g / weight for n, g in grads.items() if g is not None}


def assert_near(got, truth):
    loss, gradients = got
    assert abs(loss - truth.loss) <= NEAR * abs(truth.loss)
    assert gradients.keys() == truth.gradients.keys()
    far = {n: d for n, g in gradients.items() if (d := distance(g, truth.gradients[n])) > NEAR}
    assert not far, far


def splits(rows):
    """One step's rows as few and many micro-batches, by product code and by hand."""
    whole = range(len(rows))
    return {
        "one batch": lay_out(rows, whole, max_tokens=10_000),
        "some batches": lay_out(rows, whole, max_tokens=50),
        "a batch a row": [batch_of([row], [i]) for i, row in enumerate(rows)],
        "turned around": [batch_of(rows[:3:-1]), batch_of(rows[3::-1])],
    }


def adapter_truth(directory, model, rows, **keys):
    layers = {n: model.get_submodule(n) for n in adapters.attached(model)}
    return oracle(
        directory,
        rows,
        adapters={n: adapter_of(layer) for n, layer in layers.items()},
        **keys,
    )


def adapter_of(layer):
    """What the oracle needs of a layer of any kind."""
    less = None
    if hasattr(layer, "first_A"):
        less = layer.scaling * layer.first_B.double() @ layer.first_A.double()
    magnitude = getattr(layer, "lora_magnitude_vector", None)
    return Adapter(layer.lora_A, layer.lora_B, layer.scaling, magnitude, less)


@torch.no_grad()
def with_adapter(directory, **keys):
    model = load(directory)
    adapters.attach(model, adapters.LoraSpec(4, 8, **keys), seed=0)
    draw = torch.Generator().manual_seed(1)
    for parameter in adapters.trainable(model).values():
        parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return model


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
    for step in job.steps(Unwatched()):
        rows = [material.data.train[i] for i in job.units.examples(step.number)]
        truth = adapter_truth(material.directory, job.model, rows)
        norm = sum(float(g.square().sum()) for g in truth.gradients.values()) ** 0.5
        assert step.loss == pytest.approx(truth.loss, rel=NEAR)
        assert step.grad_norm == pytest.approx(norm, rel=NEAR)
        assert step.weight == sum(int(row.trained.sum()) for row in rows)
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
