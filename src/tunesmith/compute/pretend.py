"""Running the real code on tensors without numbers, and counting the bytes that it holds.

Inside `pretending` every tensor that is made is a `FakeTensor`: it has shape, dtype and device, no
memory and no numbers. A training step of a model of any size runs so in a moment, through the same
functions as in earnest, and `Counter` sees each storage come and go. What is small, stands on the
CPU and is real (the ends of documents, say) stays real, since Python looks at its numbers.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

_PRODUCTS = frozenset(
    getattr(getattr(torch.ops.aten, name), kind)
    for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "linear")
    for kind in getattr(torch.ops.aten, name).overloads()
)
"""Matrix products, those into memory that is there among them."""
_OF_EXPERTS = torch.ops.aten._grouped_mm.default


class _Now:
    counter: Counter | None = None


def is_on() -> bool:
    """Whether tensors that are made now have no numbers."""
    return _Now.counter is not None


class Counter(TorchDispatchMode):
    """Bytes of the storages that live, each once however many tensors look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        """The most that lived at one time since `mark`."""
        self.products: set[Any] = set()
        """Matrix products in 16 bits, by kind and shapes, each once."""
        self._bytes: dict[int, int] = {}

    def mark(self) -> int:
        """Begin a new peak here; what lives now."""
        self.peak = self.live
        return self.live

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it made."""
        given = tree_leaves((args, kwargs or {}))
        tensors = [x for x in given if isinstance(x, Tensor)]
        elsewhere = any(isinstance(x, torch.device) and x.type != "cpu" for x in given)
        if tensors and not elsewhere and not any(isinstance(x, FakeTensor) for x in tensors):
            with _disable_current_modes():
                return func(*args, **(kwargs or {}))
        if func is _OF_EXPERTS and tensors[0].dtype != torch.bfloat16:
            made = _grouped(*tensors[:3])
        else:
            made = func(*args, **(kwargs or {}))
        if func in _PRODUCTS and tensors[0].dtype.itemsize == 2:
            self.products.add((func, *((tuple(x.shape), x.stride()) for x in tensors)))
        for tensor in tree_leaves(made):
            if isinstance(tensor, FakeTensor):
                self._add(tensor)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._bytes:
            return
        self._bytes[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.live -= self._bytes.pop(key)


def _grouped(a: Tensor, b: Tensor, ends: Tensor) -> Tensor:
    """What a product of groups makes; torch pretends it in bf16 alone and computes it in others."""
    rows, columns = a.shape[-2], b.shape[-1]
    alone = a.dim() == b.dim() == 2  # groups of inner rows: one product for each
    return a.new_empty((len(ends), rows, columns) if alone else (rows, columns))


@contextmanager
def pretending() -> Iterator[Counter]:
    """Within it tensors have no numbers, and the counter counts them."""
    _forget()
    before, counter = _Now.counter, Counter()
    _Now.counter = counter
    log = logging.getLogger("torch._subclasses.fake_tensor")
    logs, log.disabled = log.disabled, True  # what fails is raised; it prints its traceback as well
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), counter:
            yield counter
    finally:
        _Now.counter, log.disabled = before, logs
        _forget()


def pretended(model: nn.Module) -> bool:
    """Whether the weights of a model have no numbers that could be looked at."""
    weight = next(model.parameters(), None)
    return isinstance(weight, FakeTensor)


def put_on(model: nn.Module, device: str, dtype: torch.dtype) -> None:
    """Give a model from the meta device weights on a device, within `pretending`, in place.

    Args:
        model: on the meta device; what is trained has `requires_grad`.
        device: type of it.
        dtype: of the floating-point weights that are not trained; trained ones are fp32.
    """
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None and id(old) not in made:
                kind = torch.float32 if old.requires_grad else dtype
                kind = kind if old.dtype.is_floating_point else old.dtype
                data = torch.empty(old.shape, dtype=kind, device=device)
                made[id(old)] = nn.Parameter(data, requires_grad=old.requires_grad)
                made[id(made[id(old)])] = made[id(old)]
            if old is not None:
                module._parameters[name] = made[id(old)]
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype, device=device)


def _forget() -> None:
    """Empty what our functions have kept by key: a pretended mask must not meet a real run."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tunesmith."):
            for value in list(vars(module).values()):
                clear = getattr(value, "cache_clear", None)
                if callable(clear):
                    clear()
