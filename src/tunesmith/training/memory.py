"""How much memory a step needs, and how many tokens a micro-batch may hold.

A first model of it, on the safe side: weights, what is trained, saved activations, one chunk
of the head. The plan prints it; `benchmarks/` compare it with what runs really took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import TrainError

MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Beyond this a larger micro-batch gains no speed; it only takes memory."""
_HEADROOM = 0.8
"""Share of the free memory that is planned for; the rest is other programs', and error."""


class Shape(NamedTuple):
    """The numbers of an architecture that memory depends on."""

    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Width of the keys: heads times head size."""
    vocab: int


class Layout(NamedTuple):
    """What fits."""

    tokens: int
    """Most tokens that a micro-batch holds; a longer example gets one of its own."""
    recompute: bool
    """Whether activations of the layers are computed again in the backward pass."""
    needed: int
    """Bytes at the fullest moment."""
    free: int
    """Bytes free before the model is loaded."""
    share: bool = False
    """Whether what rows begin with in common stands once; see `sharing`."""


def activation_bytes(shape: Shape, *, element_bytes: int, recompute: bool) -> int:
    """Bytes that one token leaves behind for the backward pass.

    Of a layer with fused adapters: inputs of norms, projections and attention (about ten
    times the hidden width), keys and values before and after rotation, and gate, up, their
    activation and product. With recomputation only the input of each layer stays, plus one
    layer in full.
    """
    layer = 10 * shape.hidden + 4 * shape.kv_width + 5 * shape.intermediate
    elements = layer + shape.layers * shape.hidden if recompute else shape.layers * layer
    return element_bytes * elements


def choose_layout(
    shape: Shape,
    *,
    device: str,
    weight_bytes: int,
    trained_bytes: int,
    element_bytes: int,
    head_chunk: int,
    longest: int,
    step_tokens: int,
    may_recompute: bool,
    free: int,
) -> Layout:
    """The largest useful micro-batch, recomputing only where memory demands it.

    Args:
        shape: of the model.
        device: "cpu" or "cuda".
        weight_bytes: of the weights in the dtype they are loaded in.
        trained_bytes: of what is trained: fp32 weights, gradients and optimizer state.
        element_bytes: of an activation.
        head_chunk: trained tokens whose logits exist at one time.
        longest: tokens of the longest example; a micro-batch cannot be smaller.
        step_tokens: tokens of the fullest step; a larger micro-batch is of no use.
        may_recompute: false where `disable_gradient_checkpointing` says so.
        free: bytes free before loading.
    """
    fixed = weight_bytes + trained_bytes + 3 * 4 * head_chunk * shape.vocab
    wanted = max(longest, min(MICRO_BATCH_TOKENS[device], step_tokens))
    for recompute in (False, True) if may_recompute else (False,):
        per_token = activation_bytes(shape, element_bytes=element_bytes, recompute=recompute)
        fits = int((free * _HEADROOM - fixed) // per_token)
        if fits >= longest:
            tokens = max(longest, min(wanted, fits))
            return Layout(tokens, recompute, fixed + tokens * per_token, free)
    # The estimate says that not even one example fits: the plan shows it with the numbers.
    per_token = activation_bytes(shape, element_bytes=element_bytes, recompute=may_recompute)
    return Layout(longest, may_recompute, fixed + longest * per_token, free)


def free_bytes(device: str) -> int:
    """Memory that a new run could take: of the GPU, else of this machine or its container."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    free = _meminfo("MemAvailable")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        free = min(free, limit - used)
    return free


@contextmanager
def explained(needed: int, free: int) -> Iterator[None]:
    """An allocation that failed, as one error; what the checkpoints hold is not touched by it.

    Args:
        needed: bytes that were estimated.
        free: bytes that were free then.

    Raises:
        TrainError: there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error)
        out = "out of memory" in text or "not enough memory" in text or "allocate memory" in text
        if not (out or isinstance(error, MemoryError)):
            raise
        raise TrainError(
            "memory",
            got=" ".join(text.split()) or "none left",
            need=f"about {needed / (1 << 30):.1f} GiB by the estimate; "
            f"{free / (1 << 30):.1f} GiB were free",
            hint="a smaller cutoff_len, lora_rank or model",
        ) from error


def _meminfo(key: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        import os

        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
