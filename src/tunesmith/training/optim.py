"""The optimizer behind each `optim:` name, and which parameters decay.

torch's own, transformers' Adafactor, bitsandbytes' where the state is to be small or paged, and
Muon. Which key means what to which of them stands in `config.optimizers`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from tunesmith.compute.bnb import library
from tunesmith.config.optimizers import OPTIMIZERS, SHORT, problem
from tunesmith.errors import ConfigError

ALIASES = {**{name: name for name in OPTIMIZERS}, **SHORT}
"""Every name that is understood, and the optimizer behind it."""

Rows = list[dict[str, Any]]


class Several(torch.optim.Optimizer):
    """Optimizers of different kinds as one: each has its own groups, all have one state.

    Args:
        parts: no parameter is in two of them.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = tuple(parts)
        for part in parts:
            part.state = self.state

    def step(self, closure: Any = None) -> None:
        """Each makes its step."""
        assert closure is None, "the loop has the gradients already"
        for part in self.parts:
            part.step()


class _Settings(NamedTuple):
    """What an optimizer is made with."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    epsilon: float
    args: Mapping[str, Any]


def optimizer_for(
    name: str,
    parameters: Mapping[str, nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    loraplus_lr_ratio: float | None = None,
    args: Mapping[str, Any] | None = None,
    by_token: Collection[str] = (),
) -> torch.optim.Optimizer:
    """An optimizer over named parameters, each in exactly one group.

    Args:
        name: a key of `ALIASES`.
        parameters: what is trained, by name.
        learning_rate: the peak; the loop sets the rate of each step.
        weight_decay: of matrices; biases and norms never decay, as in transformers' Trainer.
        betas: of AdamW and its kin.
        epsilon: of AdamW and its kin.
        loraplus_lr_ratio: rate of every B of an adapter over that of its A
            (LoRA+, arXiv:2402.12354).
        args: `optim_args`; see `config.optimizers`.
        by_token: names of matrices with a row for each token (embedding, head). They are not
            for Muon, and their state is not for 8 bits (arXiv:2110.02861, section 2.3).

    Raises:
        ConfigError: an optimizer that is not known here or whose library is missing, or
            settings that it refuses.
    """
    kind = ALIASES.get(name)
    if kind is None:
        raise ConfigError("optim", got=name, need=f"one of {', '.join(sorted(ALIASES))}")
    args = dict(args or {})
    _refuse_args(kind, args)
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for key, parameter in parameters.items():
        decays = parameter.ndim >= 2
        scale = loraplus_lr_ratio if loraplus_lr_ratio and key.endswith(".lora_B") else 1.0
        apart = _apart(kind, key, parameter, by_token)
        group = groups.setdefault(
            (decays, scale, apart),
            {"params": [], "weight_decay": weight_decay if decays else 0.0, "lr_scale": scale},
        )
        group["params"].append(parameter)
    settings = _Settings(learning_rate, weight_decay, betas, epsilon, args)
    inside = [group for (_, _, apart), group in groups.items() if not apart]
    outside = [group for (_, _, apart), group in groups.items() if apart]
    made = [_made(kind, inside, settings)] if inside else []
    if outside:
        made.append(_made(_PARTNER[kind], outside, settings._replace(args={})))
    return made[0] if len(made) == 1 else Several(made)


def check(name: str, args: Mapping[str, Any], *, paged: bool) -> tuple[str, ...]:
    """Refuse what `optimizer_for` would, before a model has been loaded; notes on the rest.

    Args:
        name: a key of `ALIASES`.
        args: `optim_args`.
        paged: whether the device can page (CUDA).

    Raises:
        ConfigError: see `optimizer_for`.
    """
    matrix = nn.Parameter(torch.zeros(2, 2))
    optimizer_for(name, {"matrix": matrix}, learning_rate=1e-4, args=args)
    if name.startswith("paged") and not paged:
        return (f"optim: {name} pages its state on CUDA only; here it is in memory as it is",)
    return ()


def part_of(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer that a group belongs to, of several."""
    if not isinstance(optimizer, Several):
        return optimizer
    return next(part for part in optimizer.parts if any(group is g for g in part.param_groups))


_PARTNER = {
    "muon": "adamw_torch",
    **{
        name: name.replace("bnb_8bit", "torch").replace("8bit", "32bit")
        for name in OPTIMIZERS
        if name.endswith("8bit") and name != "ademamix_8bit"
    },
    "ademamix_8bit": "ademamix",
    "rmsprop_bnb_8bit": "rmsprop_bnb_32bit",
}
"""What takes the parameters that the optimizer is not for."""


def _apart(kind: str, name: str, parameter: nn.Parameter, by_token: Collection[str]) -> bool:
    """Whether a parameter goes to the partner."""
    of_tokens = name in by_token or name.endswith(".token_rows")
    if kind == "muon":  # made for hidden matrices: arXiv:2502.16982, section 2.2
        return parameter.ndim != 2 or of_tokens
    return kind in _PARTNER and of_tokens


def _refuse_args(kind: str, args: Mapping[str, Any]) -> None:
    if wrong := problem(kind, dict(args)):
        raise ConfigError("optim_args", got=wrong[0], need=wrong[1])


def _made(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    make = _of_bnb if OPTIMIZERS[kind].extra else _MAKERS[kind]
    try:
        return make(kind, rows, settings)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        given = ", ".join(f"{key}={value}" for key, value in settings.args.items())
        raise ConfigError("optim_args", got=given, need=str(error)) from None


def _adamw(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    rate, _, betas, epsilon, args = settings
    fused = kind == "adamw_torch_fused"
    return torch.optim.AdamW(rows, lr=rate, betas=betas, eps=epsilon, fused=fused, **args)


def _muon(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    """Momentum, orthogonalised (https://kellerjordan.github.io/posts/muon/).

    The update is scaled to the size of AdamW's by 0.2 · sqrt(max(rows, columns))
    (arXiv:2502.16982, equation 4), so that its learning rate and decay are AdamW's.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            "optim", got=kind, need=f"torch 2.9 or newer; this is {torch.__version__}",
            hint="pip install -U torch, or optim: adamw",
        )  # fmt: skip
    how = {"adjust_lr_fn": "match_rms_adamw", **settings.args}
    if how["adjust_lr_fn"] not in ("match_rms_adamw", "original"):
        raise ValueError("adjust_lr_fn: match_rms_adamw or original")
    return torch.optim.Muon(rows, lr=settings.learning_rate, **how)


def _adafactor(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    """Adafactor (arXiv:1804.04235) with the rate of the run, as in transformers' Trainer.

    torch's own scales every update by the size of the weights: the B of a new adapter, which is
    zero, would learn a thousand times slower.
    """
    from transformers.optimization import Adafactor

    how = {"scale_parameter": False, **settings.args}
    return Adafactor(rows, lr=settings.learning_rate, relative_step=False, **how)


def _plain(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    one = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop}
    return one[kind](rows, lr=settings.learning_rate, **settings.args)


_MAKERS: dict[str, Callable[[str, Rows, _Settings], torch.optim.Optimizer]] = {
    "adamw_torch": _adamw,
    "adamw_torch_fused": _adamw,
    "muon": _muon,
    "adafactor": _adafactor,
    **dict.fromkeys(("sgd", "adagrad", "rmsprop"), _plain),
}


def _of_bnb(kind: str, rows: Rows, settings: _Settings) -> torch.optim.Optimizer:
    """bitsandbytes: states in 8 bits by blocks of 256 (arXiv:2110.02861), or paged."""
    rate, _, betas, epsilon, args = settings
    optim = library("optim", instead="optim: adamw").optim
    how: dict[str, Any] = {"optim_bits": 8 if "8bit" in kind else 32, **args}
    if "rmsprop" in kind:
        return optim.RMSprop(rows, lr=rate, **how)
    how["is_paged"] = kind.startswith("paged")
    if "lion" in kind:
        return _quiet(optim.Lion(rows, lr=rate, betas=betas, **how))
    if "ademamix" in kind:
        mixed = (*betas, how.pop("beta3", 0.9999))
        return _quiet(optim.AdEMAMix(rows, lr=rate, betas=mixed, eps=epsilon, **how))
    return _quiet(optim.AdamW(rows, lr=rate, betas=betas, eps=epsilon, **how))


def _quiet(optimizer: Any) -> Any:
    """The plan has said that nothing is paged on the CPU."""
    optimizer._cpu_paged_warned = True
    return optimizer
