"""Several adapters over one base in memory, of which one or none is at work at a time.

An adapter is a set of modules that stand in the places of the base's own and share its weights.
Switching changes which modules stand there, and copies nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models.adapter_files import read_spec
from tunesmith.models.adapter_rows import replace, within
from tunesmith.models.adapters import attached, falls_on, load_adapter


class Aside:
    """An adapter in memory that is not at work.

    Args:
        model: the base that it was loaded over.
        modules: what stands in the places of the base's modules while it is, by their names.
    """

    def __init__(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        self.modules = dict(modules)
        self._places = []
        for name, module in modules.items():
            parent, _, child = name.rpartition(".")
            # as module.__setattr__ does it, without its checks: there are hundreds for every pass
            self._places.append((model.get_submodule(parent)._modules, child, module.eval()))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within it the model answers with this adapter; one at a time."""
        before = [modules[child] for modules, child, _ in self._places]
        for modules, child, module in self._places:
            modules[child] = module
        try:
            yield
        finally:
            for (modules, child, _), module in zip(self._places, before, strict=True):
                modules[child] = module


def load_aside(model: Any, directory: Path, *, dtype: torch.dtype) -> Aside:
    """Load an adapter over a base that stays as it is.

    Args:
        model: a causal language model of transformers without an adapter, with as many rows as
            the adapter's tokens need.
        directory: with PEFT's files.
        dtype: of modules that were trained in full, which are copies.

    Raises:
        ModelError: see `adapters.load_adapter`; the model has an adapter; new tokens beyond the
            rows that the model has.
    """
    if attached(model):
        raise ModelError(f"adapter {directory}", got="a model that has one", need="the base alone")
    spec, plain = read_spec(directory), dict(_modules(model))
    rows = model.get_input_embeddings().weight.shape[0]
    if max(spec.token_ids, default=-1) >= rows:
        raise ModelError(
            f"adapter {directory}", got=f"token {max(spec.token_ids)}",
            need=f"tokens of the {rows} that the model was loaded with",
        )  # fmt: skip
    # these are overwritten; copied together, so that what is tied stays tied
    in_full = copy.deepcopy({name: plain[name] for name in falls_on(model, spec).in_full})
    try:
        for name, module in in_full.items():
            replace(model, name, module)
        load_adapter(model, directory, trainable=False)
        for module in in_full.values():
            module.to(dtype)
        standing = dict(_modules(model))
        changed = [name for name, module in plain.items() if standing.get(name) is not module]
        changed = [name for name in changed if not within(name.rpartition(".")[0], changed)]
        found = {name: standing[name] for name in changed}
    finally:
        for name, module in plain.items():
            if name:
                replace(model, name, module)
        vars(model).pop("_tunesmith_adapter", None)
    return Aside(model, found)


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return model.named_modules(remove_duplicate=False)
