"""The optimizers by name: which keys and `optim_args` each one uses, without torch."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

Name = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "sgd",
    "adafactor",
    "adagrad",
    "rmsprop",
    "muon",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "lion_32bit",
    "lion_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop_bnb_32bit",
    "rmsprop_bnb_8bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
]
"""Names of transformers' `OptimizerNames`, and `muon`."""

SHORT = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "lion": "lion_32bit",
    "paged_lion": "paged_lion_32bit",
    "rmsprop_bnb": "rmsprop_bnb_32bit",
    "paged_ademamix": "paged_ademamix_32bit",
}
"""Other words for the same."""

_BETAS = ("adam_beta1", "adam_beta2")
_ADAM = (*_BETAS, "adam_epsilon")


class Optimizer(NamedTuple):
    """What a run file can say to one optimizer."""

    uses: tuple[str, ...] = ()
    """Keys of AdamW that it looks at too."""
    args: dict[str, type] = {}  # noqa: RUF012 (a table, never written to)
    """What `optim_args` may hold, with its kind."""
    extra: bool = False
    """It comes from bitsandbytes, an extra."""


_RMS: dict[str, type] = {"alpha": float, "eps": float, "momentum": float}
_MIX: dict[str, type] = {"beta3": float, "alpha": float, "t_alpha": int, "t_beta3": int}
_SMALL: dict[str, type] = {"min_8bit_size": int}
_MUON: dict[str, type] = {
    "momentum": float, "nesterov": bool, "ns_steps": int, "adjust_lr_fn": str,
}  # fmt: skip

OPTIMIZERS: dict[str, Optimizer] = {
    "adamw_torch": Optimizer(_ADAM, {"amsgrad": bool}),
    "adamw_torch_fused": Optimizer(_ADAM, {"amsgrad": bool}),
    "sgd": Optimizer((), {"momentum": float, "dampening": float, "nesterov": bool}),
    "adafactor": Optimizer(
        (),
        {"clip_threshold": float, "decay_rate": float, "beta1": float, "scale_parameter": bool},
    ),
    "adagrad": Optimizer((), {"lr_decay": float, "initial_accumulator_value": float, "eps": float}),
    "rmsprop": Optimizer((), {**_RMS, "centered": bool}),
    "muon": Optimizer(_ADAM, _MUON),
    "adamw_bnb_8bit": Optimizer(_ADAM, _SMALL, extra=True),
    "paged_adamw_8bit": Optimizer(_ADAM, _SMALL, extra=True),
    "paged_adamw_32bit": Optimizer(_ADAM, extra=True),
    "lion_32bit": Optimizer(_BETAS, extra=True),
    "lion_8bit": Optimizer(_BETAS, _SMALL, extra=True),
    "paged_lion_32bit": Optimizer(_BETAS, extra=True),
    "paged_lion_8bit": Optimizer(_BETAS, _SMALL, extra=True),
    "rmsprop_bnb_32bit": Optimizer((), {"alpha": float, "eps": float}, extra=True),
    "rmsprop_bnb_8bit": Optimizer((), {"alpha": float, "eps": float, **_SMALL}, extra=True),
    "ademamix": Optimizer(_ADAM, _MIX, extra=True),
    "ademamix_8bit": Optimizer(_ADAM, {**_MIX, **_SMALL}, extra=True),
    "paged_ademamix_32bit": Optimizer(_ADAM, _MIX, extra=True),
    "paged_ademamix_8bit": Optimizer(_ADAM, {**_MIX, **_SMALL}, extra=True),
}
assert set(OPTIMIZERS) == set(get_args(Name)), "a name of the run file without its row"


def long_name(value: object) -> object:
    """`adamw` is short for `adamw_torch_fused`; see `SHORT`."""
    return SHORT.get(value, value) if isinstance(value, str) else value


def args_of(value: object) -> object:
    """`momentum=0.9,nesterov=true` and the mapping are the same; words become what they mean."""
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not sign or not key.strip() for key, sign, _ in parts):
            raise ValueError("such as momentum=0.9,nesterov=true")
        value = {key.strip(): text.strip() for key, _, text in parts}
    if not isinstance(value, dict):
        return value
    return {key: _meant(item) for key, item in value.items()}


def _meant(value: Any) -> Any:
    """What HF's own reading makes of the text of one setting."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def problem(name: str, args: dict[str, Any]) -> tuple[str, str] | None:
    """The first of `optim_args` that this optimizer does not take, and what it takes."""
    known = OPTIMIZERS[name].args
    for key, value in args.items():
        if key not in known:
            return key, f"a setting of {name}: {', '.join(known) or 'it has none'}"
        if not _is(value, known[key]):
            return f"{key}={value}", f"{key} as {_WORDS[known[key]]}"
    return None


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)
