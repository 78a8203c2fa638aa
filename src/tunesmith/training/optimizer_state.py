"""The state of an optimizer as named tensors, and back, bit for bit.

A component of a parameter is the tensor `NAME.COMPONENT`. What torch keeps as a plain number
or as nothing is a tensor too, its kind behind a colon: `NAME.COMPONENT:float`. A parameter
without state yet (no gradient so far) is `NAME.:untouched`, so that none can be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.errors import TrainError
from tunesmith.training.optim import part_of

_UNTOUCHED = ":untouched"
_CONSTANT = ("qmap1", "qmap2")
"""What bitsandbytes keeps beside the state of each parameter: one table, always the same."""


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """What an optimizer remembers, by the names of its parameters.

    Args:
        optimizer: any whose state holds tensors, numbers and `None` only.
        names: every parameter of the optimizer, by name.

    Returns:
        Tensors that share memory with the optimizer. Rates and other settings of the groups
        are not in it: they follow from the run and the step.

    Raises:
        TrainError: a parameter has no name, or its state holds something else.
    """
    found: dict[str, Tensor] = {}
    for name, (parameter, _) in _placed(optimizer, names).items():
        state = optimizer.state.get(parameter, {})
        if not state:
            found[f"{name}.{_UNTOUCHED}"] = torch.empty(0)
        for component, value in state.items():
            if component not in _CONSTANT:
                key, tensor = _to_tensor(f"{name}.{component}", value)
                found[key] = tensor
    return found


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Give a new optimizer the state of a saved one; nothing is changed if anything is wrong.

    Raises:
        TrainError: a component is missing, unknown, or of another shape or dtype than this
            optimizer keeps for this parameter.
    """
    placed, states = _placed(optimizer, names), {}
    rest = dict(tensors)
    for name, (parameter, group) in placed.items():
        if rest.pop(f"{name}.{_UNTOUCHED}", None) is not None:
            states[parameter] = {}
            continue
        states[parameter] = {}
        for component, like in _expected(optimizer, group, parameter).items():
            if component in _CONSTANT:
                states[parameter][component] = like
                continue
            key, _ = _to_tensor(f"{name}.{component}", like)
            if key not in rest:
                raise TrainError(
                    f"optimizer state: {key}", got="missing", need="all that was saved",
                    hint="the same optim and the same trained parameters as before",
                )  # fmt: skip
            states[parameter][component] = _value(key, rest.pop(key), like)
    if rest:
        raise TrainError(
            f"optimizer state: {min(rest)}", got="a component that this run does not have",
            need=f"only those of {type(optimizer).__name__} for the trained parameters",
            hint="the same optim and the same trained parameters as before",
        )  # fmt: skip
    for parameter, state in states.items():
        optimizer.state[parameter] = state


def _placed(
    optimizer: torch.optim.Optimizer, names: Mapping[str, nn.Parameter]
) -> dict[str, tuple[nn.Parameter, dict[str, Any]]]:
    """Name -> the parameter and the group it is in, in the order of the optimizer."""
    by_id = {id(parameter): name for name, parameter in names.items()}
    placed = {}
    for number, group in enumerate(optimizer.param_groups):
        for i, parameter in enumerate(group["params"]):
            name = by_id.pop(id(parameter), None)
            if name is None:
                where = f"optimizer group {number}, parameter {i}"
                raise TrainError(where, got=tuple(parameter.shape), need="a name")
            placed[name] = (parameter, group)
    if by_id:
        raise TrainError(min(by_id.values()), got="not in the optimizer", need="a group for it")
    return placed


def _to_tensor(key: str, value: Any) -> tuple[str, Tensor]:
    if isinstance(value, Tensor):
        return key, value.detach().contiguous()
    if value is None:
        return f"{key}:none", torch.empty(0)
    if isinstance(value, bool | int):
        return f"{key}:int", torch.tensor(int(value), dtype=torch.int64)
    if isinstance(value, float):
        return f"{key}:float", torch.tensor(value, dtype=torch.float64)
    raise TrainError(
        f"optimizer state: {key}", got=type(value).__name__, need="a tensor or a number"
    )


def _expected(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], parameter: nn.Parameter
) -> dict[str, Any]:
    """What this optimizer keeps for such a parameter, zeros of the right shapes.

    bitsandbytes makes it itself, paged where it is to be. Of others it is that of one step on a
    tiny parameter with 2, 3, 4 ... elements along its dimensions, all different, so that the
    shape of a component tells which dimensions it follows.
    """
    part: Any = part_of(optimizer, group)
    if hasattr(part, "init_state"):
        place = next(i for i, own in enumerate(part.param_groups) if own is group)
        index = next(i for i, own in enumerate(group["params"]) if own is parameter)
        part.init_state(group, parameter, place, index)
        return part.state.pop(parameter)
    small = tuple(range(2, 2 + parameter.ndim))
    tiny = nn.Parameter(torch.zeros(small, dtype=parameter.dtype, device=parameter.device))
    tiny.grad = torch.zeros_like(tiny)
    one = type(part)([{**{k: v for k, v in group.items() if k != "params"}, "params": [tiny]}])
    one.step()
    full = dict(zip(small, parameter.shape, strict=True))
    return {key: _grown(value, full) for key, value in one.state[tiny].items()}


def _grown(value: Any, full: Mapping[int, int]) -> Any:
    """A component of the tiny parameter in the shape of the real one, without its memory."""
    if not isinstance(value, Tensor):
        return value
    shape = [full.get(size, size) for size in value.shape]
    return torch.zeros((), dtype=value.dtype, device=value.device).expand(shape)


def _value(key: str, found: Tensor, like: Any) -> Any:
    """The saved component as the optimizer wants it: kind, dtype, shape, device."""
    _, wanted = _to_tensor(key, like) if not isinstance(like, Tensor) else (key, like)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise TrainError(
            f"optimizer state: {key}",
            got=f"{tuple(found.shape)} {found.dtype}",
            need=f"{tuple(wanted.shape)} {wanted.dtype}",
        )
    if like is None:
        return None
    if not isinstance(like, Tensor):
        return type(like)(found.item())
    if like.is_contiguous():  # has memory for all of its elements, perhaps paged
        return like.copy_(found)
    return found.detach().to(like.device, copy=True)
