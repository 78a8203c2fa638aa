"""The files of an adapter, which are PEFT's: their spec, their tensors, what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunesmith.errors import ModelError
from tunesmith.models import adapter_layers, adapter_rows, adapter_spec
from tunesmith.models.adapter_spec import CONFIG, WEIGHTS, LoraSpec

PREFIX = "base_model.model."
"""What PEFT puts before the model's own names."""


def read_spec(directory: Path) -> LoraSpec:
    """What the adapter in PEFT's files is like.

    Raises:
        ModelError: there is none, or it asks for something that is not computed here.
    """
    if not (directory / CONFIG).is_file() or not (directory / WEIGHTS).is_file():
        raise ModelError(f"adapter {directory}", need=f"a directory with {CONFIG} and {WEIGHTS}")
    spec = adapter_layers.as_told(
        adapter_spec.read(directory), adapter_rows.metadata(directory), directory / WEIGHTS
    )
    return spec._replace(token_ids=adapter_rows.token_ids(directory))


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """What an adapter's file holds, by the model's own names."""
    from safetensors.torch import load_file

    return {key.removeprefix(PREFIX): v for key, v in load_file(directory / WEIGHTS).items()}


def without_base(model: Any, tensors: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors without those of the base: PEFT stores the whole head beside an adapter on it.

    Raises:
        ModelError: they are not those of this model.
    """
    found = {}
    for key, value in tensors.items():
        if ".base_layer." not in key:
            found[key] = value
            continue
        own = model.state_dict().get(key.replace(".base_layer.", "."))
        if own is None or not (own.is_meta or torch.equal(own, value.to(own))):
            raise ModelError(
                f"{where}: {key}", got="another weight than the base has",
                need="the weight of the base that the adapter is put on",
            )  # fmt: skip
    return found


def check(tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], where: Path) -> None:
    """Refuse a file that does not hold exactly what its config promises for a model.

    Args:
        tensors: of the file, by the model's own names.
        shapes: what it must hold.
        where: the file.

    Raises:
        ModelError: tensors are missing, unknown or of another shape.
    """
    missing, foreign = (
        sorted(shapes.keys() - tensors.keys()),
        sorted(tensors.keys() - shapes.keys()),
    )
    if missing or foreign:
        got = f"{len(missing)} missing ({missing[:2]}), {len(foreign)} unknown ({foreign[:2]})"
        need = "the tensors of its config and of what is tied to them, for this base model"
        raise ModelError(str(where), got=got, need=need)
    for key, shape in shapes.items():
        if tuple(tensors[key].shape) != shape:
            raise ModelError(
                f"{where}: {key}",
                got=tuple(tensors[key].shape),
                need=f"{shape}: the adapter belongs to another base model",
            )


def check_tied(model: Any, extra: list[str], tensors: dict[str, Tensor], where: Path) -> None:
    """PEFT unties what it trains in full; here it stays one weight, so both must be equal.

    Raises:
        ModelError: they are not.
    """
    first: dict[int, str] = {}
    for module in extra:
        for name, parameter in model.get_submodule(module).named_parameters():
            key = f"{module}.{name}"
            twin = first.setdefault(id(parameter), key)
            if not torch.equal(tensors[key], tensors[twin]):
                raise ModelError(
                    f"{where}: {key}",
                    got=f"another weight than {twin}",
                    need="the same: in this base model they are tied",
                )
