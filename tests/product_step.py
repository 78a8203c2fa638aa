"""One step of product code beside the oracle: shared by the tests that hold the two together."""

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from oracle import Adapter, distance, oracle
from tiny_batch import batch_of, random_examples
from tunesmith.compute import attention
from tunesmith.data.batches import lay_out
from tunesmith.models import adapters
from tunesmith.stages.sft import loss_of

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


def with_adapter(directory, **keys):
    model = load(directory)
    adapters.attach(model, adapters.LoraSpec(4, 8, **keys), seed=0)
    return moved(model)


@torch.no_grad()
def moved(model):
    """The model with its adapter away from where it began, in every tensor."""
    draw = torch.Generator().manual_seed(1)
    for parameter in adapters.trainable(model).values():
        parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return model
