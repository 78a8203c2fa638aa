"""In which precision a run computes, on how many threads, and whether this process computes as
another did.

fp32 holds what learns; the products run in bf16, fp16 or fp32. bf16 is native on CUDA from
compute capability 8.0, and on processors with AMX, AVX512-BF16 or ARM's BF16; elsewhere it is
emulated: right, but slow, and the note says by how much. A GPU without it (V100, T4, RTX 20) is
told of fp16, whose loss is scaled.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith.compute.lora import LoraLinear
from tunesmith.errors import ConfigError

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Precision(NamedTuple):
    """How the products are computed."""

    dtype: torch.dtype
    """Of the products, and of weights that do not learn."""
    device: torch.device
    instructions: str
    """What the processor or GPU brings for it, for the run's record: "amx_bf16", "cuda 9.0"."""
    reason: str
    note: str | None = None
    """A faster choice than the one asked for, with its factor."""

    @property
    def name(self) -> str:
        """fp32, bf16 or fp16."""
        return _NAMES[self.dtype]

    def context(self, model: torch.nn.Module) -> AbstractContextManager[Any]:
        """What a forward pass runs in: autocast where weights of the model itself learn in fp32.

        A model whose only learning parameters are adapters needs none: they see to it themselves.
        Casts are not cached: a cache lives as long as the context, and a context that is held over
        an optimizer step would go on computing with the weights of before.
        """
        adapters = {
            id(p)
            for module in model.modules()
            if isinstance(module, LoraLinear)
            for name, p in module.named_parameters(recurse=False)
            if name not in ("weight", "bias")
        }
        mixed = any(
            p.dtype != self.dtype and p.is_floating_point() and id(p) not in adapters
            for p in model.parameters()
        )
        if not mixed or self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype, cache_enabled=False)


def choose(device: torch.device | str, *, bf16: bool | None, fp16: bool | None) -> Precision:
    """The precision of a run.

    Args:
        device: where it computes.
        bf16: as asked for in the run file; `None`: where it is native.
        fp16: as asked for; `None` and false alike.

    Raises:
        ConfigError: both are asked for, or fp16 where it is not CUDA.
    """
    place = torch.device(device)
    native, instructions = native_bf16(place)
    if bf16 and fp16:
        raise ConfigError("bf16, fp16", got="both", need="at most one of them")
    if fp16:
        if place.type != "cuda":
            raise ConfigError(
                "fp16", got=f"true on {place.type}", need="a CUDA device", hint="bf16: true"
            )
        return Precision(torch.float16, place, instructions, "fp16 asked for; the loss is scaled")
    if bf16 is None and native:
        return Precision(torch.bfloat16, place, instructions, f"native: {instructions}")
    if not bf16:
        return Precision(
            torch.float32, place, instructions, "neither bf16 nor fp16 asked for",
            _faster(place, torch.float32, native=native),
        )  # fmt: skip
    if native:
        return Precision(
            torch.bfloat16, place, instructions, f"bf16 asked for, native ({instructions})"
        )
    return Precision(
        torch.bfloat16, place, instructions, "bf16 asked for, emulated",
        _faster(place, torch.bfloat16, native=False),
    )  # fmt: skip


def _faster(place: torch.device, chosen: torch.dtype, *, native: bool) -> str | None:
    """What would multiply faster there than what was asked for: fp16 on GPUs without bf16."""
    if native:
        other, key = torch.bfloat16, "bf16: true"
    elif place.type == "cuda":
        other, key = torch.float16, "fp16: true"
    else:
        other, key = torch.float32, "bf16: false"
    if other == chosen or (factor := speed(place, other) / speed(place, chosen)) <= 1.2:
        return None
    slow = "bf16 is emulated here; " if chosen == torch.bfloat16 else ""
    return f"{slow}{key} multiplies {factor:.1f} times as fast{'' if slow else ' here'}"


def native_bf16(device: torch.device) -> tuple[bool, str]:
    """Whether bf16 products have instructions of their own there, and what was found."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return major >= 8, f"cuda {major}.{minor}"
    if device.type != "cpu":
        return False, device.type
    flags = _cpu_flags()
    for flag, name in (
        ("amx_bf16", "amx_bf16"),
        ("avx512_bf16", "avx512_bf16"),
        ("bf16", "arm bf16"),
    ):
        if flag in flags:
            return True, name
    return False, torch.backends.cpu.get_cpu_capability().lower()


def _cpu_flags() -> set[str]:
    """What /proc/cpuinfo lists; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf8", errors="replace").splitlines()
    return {f for line in lines if line.startswith(("flags", "Features")) for f in line.split()}


def speed(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-adds a second of a small product there: the best of five, about 10 ms in all."""
    size = 384 if device.type == "cpu" else 4096
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    torch.mm(a, b)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pin(threads: int) -> int:
    """Set the number of threads for good, and take dynamic choices away; the number in force."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    return torch.get_num_threads()


@torch.no_grad()
def probe(model: Any) -> str:
    """Hash of a small fixed forward pass on the model's own weights.

    Two processes that compute alike give one hash; so do two calls.

    Returns:
        64 hexadecimal digits.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(48, device=next(model.parameters()).device) * 7919 + 13) % vocabulary
    training = model.training
    model.eval()
    try:
        logits = model(input_ids=ids[None], use_cache=False).logits
    finally:
        model.train(training)
    return hashlib.sha256(logits.float().cpu().contiguous().numpy().tobytes()).hexdigest()
