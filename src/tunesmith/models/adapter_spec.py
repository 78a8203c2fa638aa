"""What an adapter is like, which layers it falls on, and how PEFT's config file says it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from tunesmith.compute.lora import LoraLinear
from tunesmith.errors import ModelError
from tunesmith.models import files, kinds
from tunesmith.models.kinds import Kind
from tunesmith.models.parts import parts

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_ASIDE = frozenset(("vision_tower", "multi_modal_projector"))
"""Parts of a model that get no adapter where nobody says more."""


class LoraSpec(NamedTuple):
    """What an adapter is like."""

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target: tuple[str, ...] | Literal["all"] = "all"
    """Names or path endings of linear layers; "all" leaves out the head and what is not text."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) in place of alpha / rank (arXiv:2312.03732)."""
    additional_target: tuple[str, ...] = ()
    """Names of modules trained and saved in full."""
    token_ids: tuple[int, ...] = ()
    """Ids of new tokens, whose rows of embedding and head are trained and saved."""
    dora: bool = False
    """Learn the length of each output's weights beside their direction (arXiv:2402.09353)."""
    pissa: int | None = None
    """Start at the largest singular values of the weights (arXiv:2404.02948), found in so many
    iterations; -1: by a full decomposition."""
    frozen: frozenset[str] | None = None
    """Parts of the model that get no adapter, whatever the names say (see `models.parts`); `None`:
    those beside the text model, where no names are given."""

    @property
    def is_pissa(self) -> bool:
        """Whether it starts at singular values."""
        return self.pissa is not None

    @property
    def scaling(self) -> float:
        """Factor on B A."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def head_name(model: Any) -> str | None:
    """Name of the output head; `None`: there is none."""
    return _name_of(model, model.get_output_embeddings())


def _name_of(model: Any, wanted: Any) -> str | None:
    return next((name for name, module in model.named_modules() if module is wanted), None)


def token_modules(model: Any) -> list[str]:
    """Names of the embedding and the head, the two that have a row for each token."""
    both = (model.get_input_embeddings(), model.get_output_embeddings())
    return [name for name in (_name_of(model, module) for module in both) if name]


def _stacked(model: Any) -> list[str]:
    """Names of matrices held several to a tensor, as experts are. Convolutions are something else:
    nobody takes `all` for them too; nor do towers have experts.
    """
    of = parts(model)
    return [
        f"{name}.{key}".lstrip(".")
        for name, module in model.named_modules()
        if not isinstance(module, nn.Conv1d) and of(name) == "language_model"
        for key, parameter in module._parameters.items()
        if parameter is not None and parameter.ndim == 3
    ]


def targets(
    model: Any, target: tuple[str, ...] | str, frozen: frozenset[str] | None = None
) -> list[str]:
    """Names of the linear layers that a target means, in the model's order.

    Args:
        model: a transformers causal language model.
        target: names or path endings; "all": every linear layer but the head and what is not
            text; any other string: a regular expression for the whole path, as in PEFT.
        frozen: as in `LoraSpec`.

    Raises:
        ModelError: a name matches nothing, or something that is no linear layer.
    """
    head = head_name(model)
    aside = frozen if frozen is not None else _ASIDE if target == "all" else frozenset()
    of = parts(model)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    free = [n for n in linear if of(n) not in aside]
    if target == "all":
        found = [n for n in free if n != head]
        deep = _stacked(model)
        if deep:
            raise ModelError(
                "lora_target",
                got="all",
                need=f"names of layers: {deep[0]} is no linear layer and would be left out",
                hint="lora_target: " + ",".join(_endings(found)) if found else _WITHOUT,
            )
        if not found:
            held = [m for m in model.modules() if any(p.ndim == 2 for p in m.parameters(False))]
            kinds = {type(m).__name__ for m in held} - {"Embedding", "Linear"}
            raise ModelError(
                "lora_target", got="all",
                need=f"linear layers; those of this model are of type {', '.join(sorted(kinds))}",
                hint=_WITHOUT,
            )  # fmt: skip
        return _plain(model, found)
    if isinstance(target, str):
        return _plain(model, [n for n in free if re.fullmatch(target, n)])
    found = set(matching(model, target, "lora_target"))
    other = sorted(found - set(linear))
    if other:
        kind = type(model.get_submodule(other[0])).__name__
        inside = [n for n in linear if n.startswith(other[0] + ".")]
        hint = _WITHOUT
        if inside:
            hint = "lora_target: " + ",".join(_endings(inside))
        elif set(linear) - {head}:
            hint = f"additional_target: {_endings(other)[0]}, which trains it in full"
        raise ModelError(
            "lora_target", got=other[0], need=f"a linear layer; it is of type {kind}", hint=hint
        )
    return _plain(model, [n for n in free if n in found])


_WITHOUT = "finetuning_type: full or freeze, which need no adapter"


def _endings(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _plain(model: nn.Module, names: list[str]) -> list[str]:
    """The same names, of layers that compute x Wᵀ + b and nothing else.

    Raises:
        ModelError: one of them is a linear layer of a kind of its own.
    """
    for name in names:
        layer: Any = model.get_submodule(name)
        if not _is_plain(layer):
            raise ModelError(
                "lora_target", got=name,
                need="a plain linear layer; it is of type "
                f"{type(layer).__name__}, which computes something of its own",
                hint="leave it out of lora_target",
            )  # fmt: skip
    return names


@torch.no_grad()
def _is_plain(layer: nn.Linear) -> bool:
    """By its code, or, where that is its own and there are weights, by what it computes."""
    if type(layer).forward is nn.Linear.forward or layer.weight.is_meta:
        return True
    x = torch.linspace(-2, 2, 3 * layer.in_features, device=layer.weight.device)
    x = x.sin().view(3, -1).to(layer.weight.dtype)
    got, want = layer(x), nn.functional.linear(x, layer.weight, layer.bias)
    near = 1e-5 if want.dtype == torch.float32 else 0.02
    return bool((got - want).norm() <= near * want.norm())


def matching(model: nn.Module, wanted: Sequence[str], key: str) -> list[str]:
    """Modules whose path is a name or ends in it; every name must match.

    A module under two paths (tied) is named by each.
    """
    paths = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    found: list[str] = []
    for ending in wanted:
        hits = [path for path in paths if path == ending or path.endswith("." + ending)]
        if not hits:
            raise _matches_nothing(model, wanted, ending, key)
        found += [hit for hit in hits if hit not in found]
    return found


def _matches_nothing(model: nn.Module, wanted: Sequence[str], ending: str, key: str) -> ModelError:
    """With the names that would match something, and the one that was perhaps meant."""
    kind = nn.Linear if key == "lora_target" else nn.Module
    paths = [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kind) and next(module.parameters(), None) is not None
    ]
    known = [name for name in _endings(paths) if name and not name.isdigit()]
    near = difflib.get_close_matches(ending, [*paths, *known], n=1)
    meant = [near[0] if name == ending else name for name in wanted] if near else []
    what = "linear layer" if key == "lora_target" else "module"
    return ModelError(
        key, got=ending, need=f"a {what} of the model: {', '.join(known)}",
        hint=f"{key}: {','.join(meant)}" if meant else "",
    )  # fmt: skip


def config_of(
    model: Any, spec: LoraSpec, extra: list[str], *, base_name: str, rows: Sequence[str] = ()
) -> dict[str, Any]:
    """What `adapter_config.json` holds.

    Target modules are named by the ends of their paths where these mean the same layers.

    Args:
        model: with the adapter.
        spec: what it is like.
        extra: names of the modules trained in full.
        base_name: the model that it belongs to.
        rows: names of the modules whose rows of new tokens are trained.
    """
    names = [n for n, m in model.named_modules() if isinstance(m, LoraLinear)]
    endings = sorted({name.rpartition(".")[2] for name in names})
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | LoraLinear)]
    exact = [n for n in linear if n.rpartition(".")[2] in endings] == names
    rank, alpha, rslora = spec.rank, spec.alpha, spec.rslora
    if spec.is_pissa:  # the file holds where it started, too
        rank, alpha, rslora = 2 * rank, 2 * rank * spec.scaling, False
        alpha = int(alpha) if alpha == int(alpha) else alpha
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": spec.dropout,
        "modules_to_save": extra or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "revision": None,
        "target_modules": endings if exact else names,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": {name.rpartition(".")[2]: list(spec.token_ids) for name in rows}
        or None,
        "use_dora": spec.dora,
        "use_rslora": rslora,
    }


_ONLY = {  # PEFT keys that are not computed here, with the values that mean the plain thing
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layers_to_transform": (None, []),
    "layer_replication": (None,),
    "exclude_modules": (None, []),
    "lora_bias": (False,),
    "target_parameters": (None, []),
    # others subtract from the base what they start at (PiSSA, OLoRA, CorDA, LoftQ ...)
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal", "mica"),
    "use_qalora": (False, None),
    "use_bdlora": (None, False),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None,),
}


_HINTS = {
    "init_lora_weights": "save it converted to an adapter of the unchanged base: PEFT's "
    "save_pretrained(..., path_initial_model_for_weight_conversion=...)",
}

_KINDS = {
    "r": Kind("a whole number, 1 or more", lambda value: kinds.is_whole(value) and value >= 1),
    "lora_alpha": kinds.NUMBER,
    "lora_dropout": Kind(
        "a number from 0 to below 1", lambda value: kinds.is_number(value) and 0 <= value < 1
    ),
    "target_modules": kinds.TARGET,
    "modules_to_save": kinds.NAMES,
    "use_rslora": kinds.FLAG,
    "use_dora": kinds.FLAG,
}
_REQUIRED = ("r", "lora_alpha", "target_modules")


def read(directory: Path) -> LoraSpec:
    """What the adapter in a directory says that it is like.

    Raises:
        ModelError: its config cannot be read, or asks for something that is not computed here.
    """
    return spec_of(files.read_json(directory / CONFIG), directory / CONFIG)


def spec_of(config: dict[str, Any], where: Path) -> LoraSpec:
    """What the values of an `adapter_config.json` mean.

    Raises:
        ModelError: a value is missing or of another kind, or asks for something that is not
            computed here.
    """
    for key, plain in _ONLY.items():
        if key in config and config[key] not in plain:
            raise ModelError(
                f"{where}: {key}", got=config[key], need=f"{plain[0]!r}", hint=_HINTS.get(key, "")
            )
    for key, kind in _KINDS.items():
        kinds.check(config, key, kind, where, required=key in _REQUIRED)
    target = config["target_modules"]
    if isinstance(target, list):
        target = tuple(target)
    elif target == "all-linear":
        target = "all"
    return LoraSpec(
        rank=config["r"],
        alpha=config["lora_alpha"],
        dropout=config.get("lora_dropout") or 0.0,
        target=target,
        rslora=bool(config.get("use_rslora")),
        additional_target=tuple(config.get("modules_to_save") or ()),
        token_ids=_token_ids(config.get("trainable_token_indices"), where),
        dora=bool(config.get("use_dora")),
    )


def _token_ids(stated: Any, where: Path) -> tuple[int, ...]:
    """PEFT's mapping from modules to ids, which must be the same for embedding and head."""
    if not stated:
        return ()
    rows = list(stated.values()) if isinstance(stated, dict) else []
    same = all(isinstance(ids, list) and ids == rows[0] for ids in rows)
    if not rows or not same or not all(kinds.is_whole(i) and i >= 0 for i in rows[0]):
        raise ModelError(
            f"{where}: trainable_token_indices", got=stated,
            need="a mapping from embedding and head to the same ids",
        )  # fmt: skip
    return tuple(rows[0])
