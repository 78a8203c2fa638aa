"""Low-rank adapters: put on a model, save, load, merge; files are PEFT's, byte for byte readable.

Holds which layers get an adapter and how it becomes a file; the layer itself is `compute.lora`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute.lora import LoraLinear
from tunesmith.compute.token_rows import RowEmbedding, RowHead
from tunesmith.errors import ModelError
from tunesmith.models import adapter_layers, adapter_rows
from tunesmith.models.adapter_files import (
    PREFIX,
    check,
    check_tied,
    read_spec,
    read_tensors,
    without_base,
)
from tunesmith.models.adapter_rows import ROWS, replace, within
from tunesmith.models.adapter_spec import (
    CONFIG,
    WEIGHTS,
    LoraSpec,
    config_of,
    matching,
    targets,
)
from tunesmith.models.lineage import sort_metadata
from tunesmith.models.vocabulary import grow


class _Attached(NamedTuple):
    """What a model with an adapter remembers."""

    spec: LoraSpec
    extra: dict[str, torch.dtype]
    """Modules trained in full, with the dtype they had."""


def attach(model: Any, spec: LoraSpec, *, seed: int) -> list[str]:
    """Put a new adapter on a model, in place; everything else is frozen.

    It starts so that the model computes what it did; see `adapter_layers.start`.

    Args:
        model: a transformers causal language model without an adapter.
        spec: what the adapter is like.
        seed: of where it starts.

    Returns:
        Names of the layers that got one, in the model's order.

    Raises:
        ModelError: a name matches nothing or no linear layer, or the model has an adapter
            already.
    """
    if attached(model):
        raise ModelError("adapter", got="a model that has one", need="merge it first")
    names, extra = falls_on(model, spec)
    if not names:
        raise ModelError(
            "lora_target", got=spec.target, need="linear layers beside additional_target"
        )
    adapter_layers.refuse(spec, {name: model.get_submodule(name) for name in names})
    _put_on(model, names, extra, spec)
    for name in names:
        adapter_layers.start(model.get_submodule(name), spec, seed=seed, name=name)
    return names


class Falls(NamedTuple):
    """What an adapter falls on in one model."""

    layers: list[str]
    """Names of the linear layers that get one, in the model's order."""
    in_full: list[str]
    """Names of the modules that learn in full, with those that are tied to them."""


def falls_on(model: Any, spec: LoraSpec) -> Falls:
    """Which layers and modules of a model without adapter a spec means.

    Raises:
        ModelError: a name matches nothing, or no linear layer.
    """
    extra = matching(model, spec.additional_target, "additional_target")
    layers = [name for name in targets(model, spec.target, spec.frozen) if not within(name, extra)]
    in_full = sorted(_with_tied(model, extra))
    both = [name for name in layers if within(name, in_full)]
    if both:
        raise ModelError(
            "lora_target", got=both[0],
            need="no layer whose weight is trained in full, as additional_target says",
            hint="leave it out of lora_target: it is tied to " + ", ".join(extra),
        )  # fmt: skip
    return Falls(layers, in_full)


def attached(model: nn.Module) -> list[str]:
    """Names of the layers that have an adapter."""
    return [name for name, module in model.named_modules() if isinstance(module, LoraLinear)]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter that is learned, by name; shared ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Within it the model answers as its base does.

    Raises:
        ModelError: modules were trained in full; what they were is not kept.
    """
    kept = _remembered(model)
    if kept and kept.extra:
        raise ModelError(
            "comparison with the base", got=sorted(kept.extra), need="no additional_target"
        )
    with off(model):
        yield


@contextmanager
def off(model: nn.Module) -> Iterator[None]:
    """Within it no adapter adds anything; modules that were trained in full stay as they are."""
    kinds = (LoraLinear, RowEmbedding, RowHead)
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


def save_adapter(
    model: nn.Module, directory: Path, base_name: str, *, lineage: Mapping[str, str] | None = None
) -> None:
    """Write the adapter as PEFT would: two files in `directory`, which the caller publishes.

    Args:
        model: one with an adapter.
        directory: exists already.
        base_name: the model that the adapter belongs to, as the run named it.
        lineage: what it was trained over, from `models.lineage`; goes into the header.
    """
    from safetensors.torch import save_file

    kept = _remembered(model)
    assert kept is not None, "save_adapter without attach or load_adapter"
    tensors = {PREFIX + key: value for key, value in adapter_tensors(model).items()}
    told = {"format": "pt", **adapter_rows.told(kept.spec), **adapter_layers.told(kept.spec)}
    save_file(tensors, directory / WEIGHTS, metadata={**told, **(lineage or {})})
    sort_metadata(directory / WEIGHTS)
    text = json.dumps(
        config_of(
            model, kept.spec, sorted(kept.extra), base_name=base_name, rows=adapter_rows.own(model)
        ),
        indent=2,
        sort_keys=True,
    )
    (directory / CONFIG).write_text(text + "\n", encoding="utf8")


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything that the adapter's file holds, by the model's own names, on the CPU."""
    kept = _remembered(model)
    found: dict[str, Tensor] = {}
    for name in attached(model):
        for key, value in adapter_layers.tensors(model.get_submodule(name)).items():
            found[f"{name}.{key}"] = value
    for name in adapter_rows.own(model):
        found[f"{name}.{ROWS}"] = model.get_submodule(name).token_rows
    for name in kept.extra if kept else ():
        for key, parameter in model.get_submodule(name).named_parameters():
            found[f"{name}.{key}"] = parameter
    return {key: value.detach().cpu().clone().contiguous() for key, value in found.items()}


@torch.no_grad()
def put_tensors(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Set the adapter of a model to what a file holds.

    Args:
        model: with an adapter.
        tensors: exactly those of `adapter_tensors`, of the same shapes.
    """
    rest = dict(tensors)
    for name in attached(model):
        layer = model.get_submodule(name)
        keys = {key: f"{name}.{key}" for key in adapter_layers.tensors(layer)}
        adapter_layers.put(layer, {key: rest.pop(full) for key, full in keys.items()})
    for key, value in rest.items():
        model.get_parameter(key.replace(ROWS, "token_rows")).copy_(value)


def load_adapter(model: Any, directory: Path, *, trainable: bool) -> None:
    """Put an adapter from PEFT's files on a model, in place; the base is frozen.

    The file must hold exactly the tensors that its config promises for this model.

    Args:
        model: a transformers causal language model without an adapter.
        directory: with adapter_config.json and adapter_model.safetensors.
        trainable: whether the adapter goes on learning.

    Raises:
        ModelError: not a LoRA adapter, of another model, incomplete, or not reproduced here.
    """
    spec = read_spec(directory)
    if attached(model):
        raise ModelError(f"adapter {directory}", got="a model that has one", need="merge it first")
    grow(model, 1 + max(spec.token_ids, default=-1))
    tensors = without_base(model, read_tensors(directory), directory / WEIGHTS)
    names, extra = falls_on(model, spec)
    check(tensors, _shapes(model, names, extra, spec), directory / WEIGHTS)
    check_tied(model, extra, tensors, directory / WEIGHTS)
    _put_on(model, names, extra, spec)
    put_tensors(model, tensors)
    if not trainable:
        model.requires_grad_(False)


def merge(model: Any) -> int:
    """Add every adapter to its weight, in place, and take the adapters off.

    W + s · B A is computed in fp32 and rounded once to the dtype that W has. A head that is the
    embedding becomes a matrix of its own, where the adapter is on the head.

    Returns:
        How many layers were changed.

    Raises:
        ModelError: a merged weight would not be finite.
    """
    names = attached(model)
    _untie_adapted_head(model)
    for name in names:
        layer = model.get_submodule(name)
        with torch.no_grad():
            merged = (layer.weight.float() + layer.delta()).to(layer.weight.dtype)
            if not bool(torch.isfinite(merged).all()):
                raise ModelError(
                    f"merge of {name}", need="finite weights", hint="export in bf16 or fp32"
                )
            layer.weight.copy_(merged)
        plain = nn.Linear(1, 1, bias=layer.bias is not None, device="meta")
        plain.in_features, plain.out_features = layer.in_features, layer.out_features
        plain.weight, plain.bias = layer.weight, layer.bias
        replace(model, name, plain.train(layer.training))
    adapter_rows.take_off(model)
    kept = _remembered(model)
    for name, dtype in (kept.extra if kept else {}).items():
        for parameter in model.get_submodule(name).parameters():
            parameter.data = parameter.data.to(dtype)
            parameter.requires_grad_(False)
    if kept:
        del model._tunesmith_adapter
    return len(names)


def apply_adapters(
    model: Any,
    directories: Sequence[Path],
    spec: LoraSpec,
    *,
    create_new: bool,
    seed: int,
    before_new: Callable[[Any], object] = lambda model: None,
) -> list[str]:
    """What `adapter_name_or_path` means: merge the earlier ones, go on with the last.

    Args:
        model: the base.
        directories: adapters in the order in which they were trained.
        spec: of a new adapter, where there is none to go on with.
        create_new: merge the last one too and start a new one (`create_new_adapter`).
        seed: of a new adapter.
        before_new: called with the model that a new adapter is put on.

    Returns:
        Names of the layers with the adapter that learns.
    """
    merged = directories if create_new else directories[:-1]
    for directory in merged:
        load_adapter(model, directory, trainable=False)
        merge(model)
    if len(merged) == len(directories):
        before_new(model)
        return attach(model, spec, seed=seed)
    load_adapter(model, directories[-1], trainable=True)
    return attached(model)


def _put_on(model: Any, names: Iterable[str], extra: Sequence[str], spec: LoraSpec) -> None:
    model.requires_grad_(False)
    for name in names:
        replace(model, name, adapter_layers.layer_for(model.get_submodule(name), spec, name))
    extra = _with_tied(model, extra)
    adapter_rows.put_on(model, names, extra, spec)
    before = {name: next(model.get_submodule(name).parameters()).dtype for name in extra}
    for name in extra:
        for parameter in model.get_submodule(name).parameters():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    model._tunesmith_adapter = _Attached(spec, before)


def _untie_adapted_head(model: Any) -> None:
    """An adapter on a head that is the embedding would, merged, change the embedding as well."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if not isinstance(head, LoraLinear) or head.weight is not embedding.weight:
        return
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False


def _remembered(model: Any) -> _Attached | None:
    return getattr(model, "_tunesmith_adapter", None)


def _with_tied(model: nn.Module, extra: Sequence[str]) -> list[str]:
    """Modules that share a parameter are trained together, so they are saved together."""
    shared = {id(p) for name in extra for p in model.get_submodule(name).parameters()}
    also = [
        name
        for name, module in model.named_modules()
        if any(id(p) in shared for p in module.parameters(recurse=False))
    ]
    return [*extra, *(name for name in also if not within(name, extra))]


def _shapes(
    model: Any, names: list[str], extra: list[str], spec: LoraSpec
) -> dict[str, tuple[int, ...]]:
    """Every tensor that the adapter's file holds, with the shape that this model takes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        for key, shape in adapter_layers.shapes(model.get_submodule(name), spec).items():
            shapes[f"{name}.{key}"] = shape
    for name in extra:
        for key, parameter in model.get_submodule(name).named_parameters():
            shapes[f"{name}.{key}"] = tuple(parameter.shape)
    shapes |= adapter_rows.shapes(model, extra, spec)
    return shapes
