"""Element-wise work over rows: a cache full at a time, all at once, or compiled.

On a processor it runs over slices of rows that stay in its cache, so that no fp32 copy of all rows
is ever made. On a GPU it runs over all rows. Where compiling is on, torch.compile makes one kernel
of it, for any number of rows and any width; the products between stay calls of a library, which a
compiler does not make faster. What autograd sees and keeps is the same either way: a compiled
kernel is called inside our functions, and neither makes nor breaks a graph.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute import pretend
from tunesmith.errors import ConfigError

_VALUES_AT_ONCE = 2**16


class _Now:
    compiled = False


class Kernel:
    """Element-wise work that writes its results into tensors that are handed in.

    Args:
        work: a function of tensors of T rows, then of what all rows share. It must treat rows
            alike and may not look at numbers. The results go into some of those tensors.
    """

    def __init__(self, work: Callable[..., None]) -> None:
        self.work = work

    def __call__(self, *rows: Tensor | None, shared: tuple[Any, ...] = ()) -> None:
        """Do it for all rows.

        Args:
            rows: (T, ...) each, or `None` for one that is not wanted; the first is there.
            shared: what every row needs: weights, numbers, names.
        """
        first = rows[0]
        assert first is not None, "the first says how many rows there are"
        if _Now.compiled and not pretend.is_on():
            # plain tensors: a compiler looks also at what a view is of
            given: tuple[Any, ...] = (*rows, *shared)
            self.compiled(*(x.detach() if isinstance(x, Tensor) else x for x in given))
            return
        for part in slices(len(first), first.numel() // max(len(first), 1), first.device):
            self.work(*(None if x is None else x[part] for x in rows), *shared)

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The work as one kernel, made at the first call; sizes are not part of what is made."""
        # uses of one kernel (a gradient that nobody wants, another dtype) are few, but more than
        # torch expects of one function
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, 64)
        # in this process: a compiler's helpers would stay, and hold memory that nobody counts
        return torch.compile(
            self.work, dynamic=True, fullgraph=True, options={"compile_threads": 1}
        )


def slices(rows: int, width: int, device: torch.device, *, times: int = 1) -> Iterator[slice]:
    """Rows that are worked on at once: all of them on a GPU, a cache full on a processor.

    Where there are no numbers (`pretend`) the first stand for all: the others need no more memory.

    Args:
        rows: how many there are.
        width: values of each.
        device: where they are.
        times: more of them at once, where each row is wide.
    """
    size = max(1, times * _VALUES_AT_ONCE // max(width, 1))
    size = size if device.type == "cpu" else max(rows, 1)
    starts = range(0, min(rows, size) if pretend.is_on() else rows, size)
    return (slice(start, min(start + size, rows)) for start in starts)


@contextmanager
def compiling(*, on: bool = True) -> Iterator[None]:
    """Within it kernels are compiled, or not."""
    before, _Now.compiled = _Now.compiled, on
    try:
        yield
    finally:
        _Now.compiled = before


def try_compiler(device: torch.device | str) -> None:
    """Compile something small, and see whether it computes.

    Raises:
        ConfigError: there is no compiler, or none that works; at `torch_compile`.
    """
    missing = missing_compiler(device)
    if missing is None:
        ones, out = torch.ones(2, 5, 3, device=device)
        try:
            with compiling():
                Kernel(_twice)(ones, out)
        except Exception as error:  # whatever a compiler and its caller may raise
            said = next((line for line in str(error).splitlines() if "rror" in line), str(error))
            missing = f"a compiler that works: {said.strip()[:160]}", "see its words"
        else:
            if float(out.sum()) == 30.0:
                return
            missing = "a compiler whose kernels compute what they should", "another compiler"
    raise ConfigError(
        "torch_compile", got=True, need=missing[0], hint=f"{missing[1]}; or torch_compile: false"
    )


def _twice(x: Tensor, out: Tensor) -> None:
    out.copy_(x * 2)


def missing_compiler(device: torch.device | str) -> tuple[str, str] | None:
    """(what is not there, how to get it); `None` where kernels can be compiled."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    if shutil.which(os.environ.get("CXX", usual)) is None:
        return f"a C++ compiler: {os.environ.get('CXX', usual)} is not there", f"install {usual}"
    place = torch.device(device)
    if place.type == "cuda":
        if find_spec("triton") is None:
            return "Triton, which is not installed", "pip install triton"
        if torch.cuda.get_device_capability(place) < (7, 0):
            return "a GPU that Triton knows: compute capability 7.0 or more", "another GPU"
    return None
