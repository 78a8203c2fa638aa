"""A frozen part of a model that is watched once, and afterwards is given what it would make.

The module stays where it is, with its weights and its name. What the rest of the model takes of its
output is found out by looking: each tensor that is asked for is noted under the way it was asked
for (`last_hidden_state`, `hidden_states.-2`). Given these tensors, the module computes nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

_towers: weakref.WeakKeyDictionary[nn.Module, Tower] = weakref.WeakKeyDictionary()


def install(model: nn.Module, module: nn.Module) -> Tower:
    """Make a module of a model one that can be watched and given; twice is as good as once."""
    if model not in _towers:
        _towers[model] = Tower(module)
    return _towers[model]


@contextmanager
def watched(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What is asked of the output of a module within; it is left as it was."""
    before = module.__dict__.get("forward")
    try:
        with Tower(module).watching() as found:
            yield found
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def giving(model: nn.Module, made: Mapping[str, Tensor] | None) -> AbstractContextManager[None]:
    """Forward passes in which the tower of a model is given its output; `None`: it computes."""
    return nullcontext() if made is None else _towers[model].giving(made)


class Tower:
    """A module between its input and what is taken of its output.

    Which of both it does is said for the thread that says it: another one may compute meanwhile.

    Args:
        module: of a model; none of its parameters learns.
    """

    def __init__(self, module: nn.Module) -> None:
        self._own, self._now = module.forward, threading.local()
        module.forward = self._forward

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor]]:
        """What is asked of the output within; filled while the model runs."""
        found: dict[str, Tensor] = {}
        self._now.found = found
        try:
            yield found
        finally:
            self._now.found = None

    @contextmanager
    def giving(self, made: Mapping[str, Tensor]) -> Iterator[None]:
        """Give these in place of computing them, to one call."""
        self._now.made, self._now.calls = made, 0
        try:
            yield
            assert self._now.calls == 1, "what a tower has made is given to one call, no fewer"
        finally:
            self._now.made = None

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        made = getattr(self._now, "made", None)
        if made is not None:
            self._now.calls += 1
            return _Given(made)
        out = self._own(*args, **kwargs)
        found = getattr(self._now, "found", None)
        return out if found is None else _Watched(out, found)


class _Watched:
    """An output whose tensors are noted as they are asked for; what is put on it stays on it."""

    def __init__(self, out: Any, found: dict[str, Tensor]) -> None:
        self._out, self._found = out, found

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._out, name)
        if isinstance(value, list | tuple):
            return _WatchedList(name, value, self._found)
        if isinstance(value, Tensor):
            self._found[name] = value
        return value


class _WatchedList:
    def __init__(self, name: str, values: Any, found: dict[str, Tensor]) -> None:
        self._name, self._values, self._found = name, values, found

    def __getitem__(self, number: int) -> Tensor:
        self._found[f"{self._name}.{number}"] = self._values[number]
        return self._values[number]

    def __len__(self) -> int:
        return len(self._values)


class _Given:
    """An output that is made of what has been noted; more of it was never asked for."""

    def __init__(self, made: Mapping[str, Tensor]) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        if name in self._made:
            return self._made[name]
        start = f"{name}."
        parts = {int(k[len(start) :]): v for k, v in self._made.items() if k.startswith(start)}
        if not parts:
            raise AttributeError(name)
        return _GivenList(parts)


class _GivenList:
    def __init__(self, parts: Mapping[int, Tensor]) -> None:
        self._parts = parts

    def __getitem__(self, number: int) -> Tensor:
        if number == len(self._parts):  # whoever asks for one after another ends here
            raise IndexError(number)
        return self._parts[number]

    def __len__(self) -> int:
        return len(self._parts)
