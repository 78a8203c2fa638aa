"""Which of a model's own parameters learn: all of them (`full`) or those of some layers (`freeze`).

What learns is kept in fp32, whatever the model was loaded in: in bf16 most updates of a small
learning rate round to nothing. The products themselves run in the dtype of the run under autocast
(`compute.precision.Precision.context`); what is frozen stays as it was loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from torch import nn

from tunesmith.compute.attention import decoder
from tunesmith.errors import ModelError
from tunesmith.models.parts import parts


def full(model: Any, *, frozen: Collection[str] = (), only: Sequence[str] = ()) -> list[str]:
    """Let every parameter learn, in fp32; their names.

    Args:
        model: of transformers.
        frozen: its parts that stay as they are; see `parts`.
        only: `train_modules`: what alone learns, by whole steps of a parameter's path ("experts",
            "mlp.gate", "layers.0"); empty: everything.

    Raises:
        ModelError: nothing is left that learns, or a name is that of nothing which may.
    """
    of = parts(model)
    learned = [name for name, _ in model.named_parameters() if of(name) not in frozen]
    if not learned:
        keys = ", ".join(f"freeze_{part}: true" for part in sorted(frozen))
        raise ModelError(f"freeze_{min(frozen)}", got=keys, need="a part of the model that learns")
    if only:
        for asked in only:
            if not any(_within(asked, name) for name in learned):
                raise _nothing(model, asked, learned, frozen)
        learned = [name for name in learned if any(_within(asked, name) for asked in only)]
    model.requires_grad_(False)
    for name in learned:
        _learn(model.get_parameter(name))
    return learned


def there(model: Any, asked: Sequence[str]) -> list[str]:
    """Those of `train_modules` that a part of the model has, too."""
    names = [name for name, _ in model.named_parameters()]
    return [one for one in asked if any(_within(one, name) for name in names)]


def _within(asked: str, name: str) -> bool:
    """Whether a path leads through what is asked for."""
    return f".{asked}." in f".{name}."


def _nothing(model: Any, asked: str, learned: Sequence[str], frozen: Collection[str]) -> ModelError:
    steps = dict.fromkeys(step for name in learned for step in name.split(".")[:-1])
    known = ", ".join(step for step in steps if not step.isdecimal())
    held = any(_within(asked, name) for name, _ in model.named_parameters())
    need = f"a part of the paths of its parameters: {known}"
    hint = f"freeze_{min(frozen)}: false" if held and frozen else ""
    if asked in ("experts", "gate", "router") and not held:
        hint = "a model with experts: tunesmith upcycle makes one of a dense model"
    got = f"{asked}, which a freeze_... key holds back" if held else asked
    return ModelError("train_modules", got=got, need=need, hint=hint)


def freeze(
    model: Any,
    *,
    layers: int = 2,
    modules: Sequence[str] | Literal["all"] = "all",
    extra: Sequence[str] = (),
) -> list[str]:
    """Let some layers learn and freeze the rest.

    Args:
        model: a transformers causal language model.
        layers: `freeze_trainable_layers`: the last n, or the first -n when negative.
        modules: `freeze_trainable_modules`: parts of those layers, each by its path within the
            layer or the end of it ("mlp", "self_attn.q_proj", "down_proj"); "all" of them.
        extra: `freeze_extra_modules`: modules outside of the layers, by path or the end of it.

    Returns:
        Names of the parameters that learn, in the model's order.

    Raises:
        ModelError: more layers than there are, or a name that matches nothing.
    """
    prefix, blocks = _layers(model)
    if layers == 0 or abs(layers) > len(blocks):
        need = f"1 to {len(blocks)} (the last), or -{len(blocks)} to -1 (the first)"
        raise ModelError("freeze_trainable_layers", got=layers, need=need)
    numbers = range(len(blocks) - layers, len(blocks)) if layers > 0 else range(-layers)
    chosen = [f"{prefix}.{number}" for number in numbers]
    if modules != "all" and tuple(modules) != ("all",):
        inside = {
            block: [n for n, _ in model.get_submodule(block).named_modules()] for block in chosen
        }
        chosen = [
            f"{block}.{path}"
            for name in modules
            for block, path in _hits(inside, name, "freeze_trainable_modules")
        ]
    outside = {
        "": [
            n
            for n, _ in model.named_modules()
            if n and not n.startswith(prefix + ".") and n != prefix
        ]
    }
    for name in extra:
        chosen += [path for _, path in _hits(outside, name, "freeze_extra_modules")]
    model.requires_grad_(False)
    for path in chosen:
        for parameter in model.get_submodule(path).parameters():
            _learn(parameter)
    return [name for name, p in model.named_parameters() if p.requires_grad]


def _learn(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data.float()
    parameter.requires_grad_(True)


def _layers(model: Any) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder's layers."""
    body, count = decoder(model), model.config.get_text_config().num_hidden_layers
    for child in body.children():
        if isinstance(child, nn.ModuleList) and len(child) == count:
            return next(n for n, m in model.named_modules() if m is child), child
    raise ModelError(
        type(model).__name__, need="a decoder with a list of layers, to freeze some of them"
    )


def _hits(places: dict[str, list[str]], name: str, key: str) -> list[tuple[str, str]]:
    found = [
        (place, path)
        for place, paths in places.items()
        for path in paths
        if path and (path == name or path.endswith("." + name))
    ]
    if not found:
        known = sorted({path for paths in places.values() for path in paths if path})
        raise ModelError(key, got=name, need=f"one of {', '.join(known)}")
    return found
