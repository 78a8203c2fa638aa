"""The oracle: a second, deliberately dumb implementation of what a step of training computes.

fp64, one unpadded example at a time, the model's own eager attention and full logits, an explicit
sum of negative log-probabilities over an explicit count. An adapter is W + s·B·A, written out.
It shares no code with the product; it is slow on purpose.
"""

from typing import NamedTuple

import torch
from torch.func import functional_call
from transformers import AutoModelForCausalLM


class Truth(NamedTuple):
    """What a step should come to."""

    loss: float
    """Mean over all trained tokens, in nats."""
    gradients: dict
    """Of every tensor that learns, by name, fp64."""


class Adapter(NamedTuple):
    """A low-rank change of one weight."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None = None
    """With DoRA: length of each row of the changed weight."""
    less: torch.Tensor | None = None
    """With PiSSA: what is taken from the weight before."""


def oracle(directory, examples, *, learns=(), adapters=None, state=None, attention="eager"):
    """Loss and gradients of one step over `examples`.

    Args:
        directory: of the base model.
        examples: anything with `ids` and `trained`.
        learns: names of the base model's own parameters that learn.
        adapters: layer name -> `Adapter`; its matrices and its magnitude learn.
        state: values that differ from the directory's, by parameter name.
        attention: of transformers' own.
    """
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float64, attn_implementation=attention,
        experts_implementation="eager",
    ).eval()  # fmt: skip
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, value in (state or {}).items():
        weights[name] = value.detach().double()
    leaves = {name: weights[name].requires_grad_(True) for name in learns}
    for name, adapter in (adapters or {}).items():
        a = leaves[f"{name}.lora_A"] = adapter.a.detach().double().requires_grad_(True)
        b = leaves[f"{name}.lora_B"] = adapter.b.detach().double().requires_grad_(True)
        base = weights[f"{name}.weight"]
        if adapter.less is not None:
            base = base - adapter.less.detach().double()
        turned = base + adapter.scaling * (b @ a)
        if adapter.magnitude is not None:
            m = adapter.magnitude.detach().double().requires_grad_(True)
            leaves[f"{name}.lora_magnitude_vector"] = m
            turned = (m / turned.detach().norm(dim=1))[:, None] * turned
        weights[f"{name}.weight"] = turned
    total, count = torch.zeros((), dtype=torch.float64), 0
    for example in examples:
        ids = torch.tensor([int(token) for token in example.ids])
        out = functional_call(model, weights, kwargs={"input_ids": ids[None], "use_cache": False})
        logprob = out.logits[0].double().log_softmax(-1)
        for place in range(1, len(ids)):
            if example.trained[place]:
                total = total - logprob[place - 1, ids[place]]
                count += 1
    mean = total / count
    names = list(leaves)
    found = torch.autograd.grad(mean, [leaves[name] for name in names], allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaves[name]) if value is None else value
        for name, value in zip(names, found, strict=True)
    }
    return Truth(float(mean.detach()), gradients)


def distance(got, want):
    """Relative distance of two tensors: norm of the difference over the norm of the truth."""
    want = want.double()
    size = want.norm()
    return float((got.double() - want).norm() / size) if size > 0 else float(got.double().norm())
