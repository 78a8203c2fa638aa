"""How long an update of the weights takes: by the optimizer of the run, tried on some of them; or
counted, for a device that is not here.

Clipping and the optimizer run on what learns in the layers of a trial, which is repeated for each
layer of the model; what learns beside the layers (embedding, head) is one matrix with a row for
each token. Muon's products and Adafactor's single operations are in it as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tunesmith.config.run import Run
from tunesmith.training.memory.rehearse import layers_of
from tunesmith.training.optim import optimizer_for

_MOST = 2**22
"""Numbers beside the layers that are tried; more of them take as much longer."""
_BESIDE = "embed_tokens.weight"
_MOVED = 32
"""Bytes for each number that learns, in fp32: the norm reads its gradient, dividing and clipping
read and write it, the update reads it and reads and writes the weight."""
_COSTS = {
    "adafactor": (0, 60, 18),
    "ademamix": (12, 0, 1),
    "adagrad": (4, 0, 0),
    "rmsprop": (4, 0, 0),
    "lion": (4, 0, 1),
    "muon": (4, 16, 25),
    "sgd": (0, 0, 0),
    "bnb": (8, 0, 1),
    "paged": (8, 0, 1),
    "adamw": (8, 0, 0),
}
"""Of each kind, by a part of its name: bytes of state for each number, bytes that move beside
reading and writing that (transformers' Adafactor works in single operations; Muon copies to bf16
and back), kernels for each tensor where they are not fused over all. Muon multiplies five times
2 (2 n m² + m³) operations for a matrix of m by n, m the smaller
(https://kellerjordan.github.io/posts/muon/)."""
_START, _BEGIN = 4e-6, 1e-3
"""Seconds to start a kernel, and to lay out and begin a step."""


def seconds(
    run: Run,
    model: Any,
    learned: Mapping[str, nn.Parameter],
    *,
    deep: float,
    trainable: int,
    timed: Callable[[Callable[[], None]], float],
) -> float:
    """Of one optimizer step of the whole model.

    Args:
        run: what was asked.
        model: a trial's.
        learned: what learns in it, by name.
        deep: layers of the model for each of the trial's.
        trainable: parameters that learn in the whole model.
        timed: seconds of a call.
    """
    layers = {id(p) for p in layers_of(model).parameters()}
    inside = {name: p for name, p in learned.items() if id(p) in layers}
    outside = trainable - int(deep * sum(p.numel() for p in inside.values()))
    found = deep * timed(_step(run, inside)) if inside else 0.0
    if outside > 0:
        width = model.config.get_text_config().hidden_size
        rows = max(1, min(outside, _MOST) // width)
        place = next(iter(learned.values())).device
        beside = nn.Parameter(torch.full((rows, width), 0.01, device=place))
        found += timed(_step(run, {_BESIDE: beside})) * outside / (rows * width)
    return found


def counted(name: str, shapes: Sequence[Sequence[int]], *, bandwidth: float, speed: float) -> float:
    """Seconds of one optimizer step, by what moves through memory, products and kernel starts.

    Args:
        name: of the optimizer.
        shapes: of what learns.
        bandwidth: bytes a second.
        speed: floating-point operations a second of products.
    """
    found = _BEGIN
    for shape in shapes:
        numbers, matrix = math.prod(shape), len(shape) == 2
        kind = next((key for key in _COSTS if key in name and (key != "muon" or matrix)), "adamw")
        state, more, starts = _COSTS[kind]
        state = state / 4 if "8bit" in name else state
        found += numbers * (_MOVED + 2 * state + more) / bandwidth + starts * _START
        if kind == "muon":
            small, large = sorted(shape)
            found += 5 * (4 * small**2 * large + 2 * small**3) / speed
    return found


def _step(run: Run, learned: dict[str, nn.Parameter]) -> Callable[[], None]:
    train, parameters = run.train, list(learned.values())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.01)
    optimizer = optimizer_for(
        train.optimizer, learned, learning_rate=train.learning_rate,
        weight_decay=train.weight_decay, betas=(train.adam_beta1, train.adam_beta2),
        epsilon=train.adam_epsilon, args=train.optim_args, by_token=[_BESIDE],
    )  # fmt: skip
    divisor = torch.ones((), device=parameters[0].device)

    def once() -> None:
        torch._foreach_div_([p.grad for p in parameters if p.grad is not None], divisor)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return once
