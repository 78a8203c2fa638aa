"""What a model does in a pass of training that neither its config nor its layers tell.

Short forward passes on the real weights: whether the head is one that is computed exactly, whether
the model draws random numbers of its own, and whether every adapter is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.score import check_head, hidden
from tunesmith.errors import ModelError
from tunesmith.types import Batch

_TOKENS = 24


@torch.no_grad()
def check(model: Any, where: str) -> None:
    """Refuse what would train otherwise than it says. The model is left as it was.

    Args:
        model: as it will be trained, with weights.
        where: its config file.

    Raises:
        ModelError: its head is not computed exactly; it draws from torch's random state, so that a
            run could not be gone on with; or it takes a weight past the adapter that is on it,
            which would learn nothing.
    """
    adapted = {n: m for n, m in model.named_modules() if isinstance(m, LoraLinear)}
    modes = {module: module.training for module in model.modules()}
    called: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda m, _: called.add(m)) for m in adapted.values()]
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    try:
        check_head(model)
        model.train()
        for module in adapted.values():
            module.eval()  # its dropout is drawn from counters, and nobody has said which step
        with torch.random.fork_rng(devices=devices):
            before = _random_state(device)
            out = _logits(model, device)
            drawn = not torch.equal(before, _random_state(device))
        if drawn:
            raise ModelError(
                where, got="a model that draws random numbers in training",
                need="none of the model's own: they would depend on what was drawn before",
                hint="set every noise, jitter or dropout in that file to 0",
            )  # fmt: skip
        silent = {n: m for n, m in adapted.items() if m not in called}
        past = _past(model, silent, out)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    refuse(model, past)


def taken_past(model: Any, batch: Batch) -> list[str]:
    """Kinds of layer whose weights have a part in the hidden states though they are not called.

    The same question without numbers: asked of the graph of operations, within `pretending`.

    Args:
        model: with its adapters, on pretended tensors. Its head, which may be the embedding, is
            not asked: `compute.score` calls it.
        batch: of any one document.
    """
    head = model.get_output_embeddings()
    every = {n: m for n, m in model.named_modules() if isinstance(m, LoraLinear)}
    adapted = {name: layer for name, layer in every.items() if layer is not head}
    called: set[nn.Module] = set()
    for layer in adapted.values():
        layer.register_forward_pre_hook(lambda m, _: called.add(m))
    weights = {layer.weight: _end(name) for name, layer in adapted.items()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in weights)
    left, seen, found = [hidden(model, batch).grad_fn], set(), set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(getattr(node, "variable", None))
            left += [before for before, _ in node.next_functions]
    past = [layer.weight for layer in adapted.values() if layer not in called]
    return list(dict.fromkeys(weights[weight] for weight in past if weight in found))


def refuse(model: Any, past: Sequence[str]) -> None:
    """Say which kinds of layer would learn nothing, if there are any.

    Raises:
        ModelError: there are.
    """
    adapted = [n for n, m in model.named_modules() if isinstance(m, LoraLinear)]
    if not past:
        return
    rest = dict.fromkeys(end for name in adapted if (end := _end(name)) not in past)
    raise ModelError(
        "lora_target", got=", ".join(past),
        need="layers that the model calls; it takes the weights of these past their adapters, "
        "which would learn nothing",
        hint="lora_target: " + ",".join(rest) if rest else "finetuning_type: full",
    )  # fmt: skip


def _past(model: Any, silent: dict[str, LoraLinear], out: Tensor) -> list[str]:
    """Kinds of layer that were not called and whose weights matter all the same.

    An expert that no token went to was not called either, and its weight does not matter here.
    """
    found: list[str] = []
    for name, layer in silent.items():
        if _end(name) in found:
            continue
        weight = layer.weight
        shape, device = tuple(weight.shape), weight.device
        layer.weight = nn.Parameter(torch.zeros(shape, dtype=weight.dtype, device=device), False)
        try:
            if not torch.equal(_logits(model, device), out):
                found.append(_end(name))
        finally:
            layer.weight = weight
    return found


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _logits(model: Any, device: torch.device) -> Tensor:
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(_TOKENS, device=device) * 7919 + 13) % vocabulary
    return model(input_ids=ids[None], use_cache=False).logits


def _random_state(device: torch.device) -> Tensor:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)
