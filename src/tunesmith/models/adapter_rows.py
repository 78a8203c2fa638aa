"""The part of an adapter that is rows of new tokens: put on, taken off, named as PEFT names it.

PEFT keeps such rows beside the embedding (`trainable_token_indices`), so that a file of a few
kilobytes holds what would be gigabytes with embedding and head in full (`modules_to_save`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.compute.token_rows import RowEmbedding, RowHead, write_back
from tunesmith.errors import ModelError
from tunesmith.models import adapter_spec
from tunesmith.models.adapter_spec import WEIGHTS, LoraSpec, token_modules

ROWS = "token_adapter.trainable_tokens_delta"
"""PEFT's name; it holds the rows themselves, in place of those of the base."""
_TOKENS = "tunesmith_tokens"


def put_on(model: Any, names: Iterable[str], extra: Sequence[str], spec: LoraSpec) -> None:
    """Rows of new tokens become trainable, in place, but where the whole matrix is.

    Args:
        model: with as many rows as the ids need.
        names: linear layers with an adapter.
        extra: modules trained in full.
        spec: of the adapter.

    Raises:
        ModelError: embedding or head is something else than a matrix.
    """
    if not spec.token_ids:
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names, shared = set(names), None
    for name in (name for name in token_modules(model) if not within(name, extra)):
        module = model.get_submodule(name)
        if name in names or not isinstance(module, nn.Embedding | nn.Linear):
            raise ModelError(
                "lora_target", got=name, need="neither embedding nor head beside new tokens",
                hint=f"additional_target: {name} trains all of it",
            )  # fmt: skip
        if module is embedding:
            made = RowEmbedding(module, spec.token_ids)
            tied = head is not None and head.weight is module.weight
            shared = made.token_rows if tied else None
        else:
            made = RowHead(module, spec.token_ids, shared)
        replace(model, name, made)


def own(model: Any) -> list[str]:
    """Modules with rows of new tokens; a head that is the embedding has none of its own."""
    kinds = (RowEmbedding, RowHead)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    return [name for name, module in found if not getattr(module, "tied", False)]


def take_off(model: Any) -> None:
    """The learned rows into the matrices, and the plain modules back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, RowEmbedding | RowHead):
            write_back(module)
            replace(model, name, module.base())


def shapes(model: Any, extra: Sequence[str], spec: LoraSpec) -> dict[str, tuple[int, ...]]:
    """The tensors that the adapter's file holds for new tokens, with their shapes."""
    both = token_modules(model) if spec.token_ids else []
    tied = len({id(model.get_submodule(name).weight) for name in both}) < len(both)
    return {
        f"{name}.{ROWS}": (len(spec.token_ids), model.get_submodule(name).weight.shape[1])
        for name in (both[:1] if tied else both)
        if not within(name, extra)
    }


def told(spec: LoraSpec) -> dict[str, str]:
    """The ids as metadata of the file: PEFT's config cannot name them beside whole matrices."""
    return {_TOKENS: " ".join(map(str, spec.token_ids))} if spec.token_ids else {}


def token_ids(adapter: Path) -> tuple[int, ...]:
    """Ids of the new tokens that an adapter brings.

    Raises:
        ModelError: its config asks for something that is not computed here.
    """
    ids = adapter_spec.read(adapter).token_ids
    return ids or tuple(map(int, metadata(adapter).get(_TOKENS, "").split()))


def metadata(adapter: Path) -> dict[str, str]:
    """What the header of an adapter's file says beside the tensors."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        return file.metadata() or {}


def last_id(adapter: Path) -> int:
    """Largest id of a new token that an adapter brings; -1 where it brings none."""
    return max(token_ids(adapter), default=-1)


def tokenizer_directory(base: Path, adapters: Sequence[Path]) -> Path:
    """Where the tokenizer stands: beside the last adapter that brings tokens, else the base."""
    for adapter in reversed(adapters):
        if (adapter / "tokenizer.json").is_file() and last_id(adapter) >= 0:
            return adapter
    return base


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put another module at a path of the model."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def within(name: str, modules: Iterable[str]) -> bool:
    """Whether a path is one of the modules or lies below one."""
    return any(name == module or name.startswith(module + ".") for module in modules)
