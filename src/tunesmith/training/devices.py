"""GPUs by name, for a plan that is made elsewhere: memory, speed of products, bandwidth.

Speeds are the vendor's peaks for dense products summed in fp32, in TFLOP/s; data sheets that
print figures "with sparsity" are halved. Memory is what the driver lists, in MiB.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

import torch

from tunesmith.compute import precision as precisions
from tunesmith.compute.precision import Precision
from tunesmith.errors import ConfigError

_OF_THE_DRIVER = 600 << 20
"""Bytes that a CUDA context with its libraries takes before the first tensor."""


class Device(NamedTuple):
    """What a plan needs to know about a GPU."""

    name: str
    title: str
    memory: int
    """Bytes, as the driver lists them."""
    bf16: float | None
    """TFLOP/s; `None`: not in hardware."""
    fp16: float
    fp8: float | None
    fp32: float
    """Of plain products (no TF32: it is not what fp32 asks for)."""
    bandwidth: float
    """GB/s."""
    aliases: tuple[str, ...] = ()

    @property
    def capability(self) -> tuple[int, int]:
        """CUDA's compute capability, which decides what kernels there are."""
        return _CAPABILITIES[self.name]

    @property
    def free(self) -> int:
        """Bytes for tensors on an otherwise idle card."""
        return self.memory - _OF_THE_DRIVER

    def peak(self, dtype: torch.dtype) -> float:
        """FLOP/s of products in a type; emulated bf16 runs at the speed of fp32."""
        by_type = {torch.bfloat16: self.bf16, torch.float16: self.fp16}
        return 1e12 * (by_type.get(dtype) or self.fp32)

    def precision(self, *, bf16: bool | None, fp16: bool | None) -> Precision:
        """What `compute.precision.choose` would choose there."""
        if bf16 and fp16:
            raise ConfigError("bf16, fp16", got="both", need="at most one of them")
        place = torch.device("cuda")
        if fp16:
            return Precision(torch.float16, place, self.name, "fp16 asked for; the loss is scaled")
        if bf16 is None and self.bf16:
            return Precision(torch.bfloat16, place, self.name, f"native: {self.name}")
        if not bf16:
            fast = max(self.bf16 or 0, self.fp16) / self.fp32
            key = "bf16" if self.bf16 else "fp16"
            note = f"{key}: true multiplies up to {fast:.0f} times as fast there"
            return Precision(
                torch.float32, place, self.name, "neither bf16 nor fp16 asked for", note
            )
        if self.bf16:
            return Precision(
                torch.bfloat16, place, self.name, f"bf16 asked for, native: {self.name}"
            )
        note = f"bf16 is emulated on {self.title}; fp16: true multiplies many times as fast"
        return Precision(torch.bfloat16, place, self.name, "bf16 asked for, emulated", note)


def _mib(count: int) -> int:
    return count << 20


# Above each row: the vendor's paper that its figures are from, compared with copies on the web.
DEVICES = (
    # H200 data sheet (SXM): 1,979 TFLOPS bf16 and 3,958 fp8 with sparsity, 67 fp32, 4.8 TB/s
    Device("h200", "H200 SXM 141 GB", _mib(143_771), 989.5, 989.5, 1979, 67, 4800, ("h200-141",)),
    # H100 data sheet (SXM): as the H200 but for 3.35 TB/s
    Device("h100", "H100 SXM 80 GB", _mib(81_559), 989.5, 989.5, 1979, 67, 3350, ("h100-80",)),
    # H100 data sheet (PCIe): 1,513 TFLOPS bf16 with sparsity, 51 fp32, 2 TB/s
    Device("h100-pcie", "H100 PCIe 80 GB", _mib(81_559), 756.5, 756.5, 1513, 51, 2000),
    # HGX B200 data sheet, an eighth of it: 36 PFLOPS bf16 with sparsity, 600 TFLOPS fp32, 62 TB/s
    Device("b200", "B200 SXM 180 GB", _mib(183_359), 2250, 2250, 4500, 75, 7700, ("b200-180",)),
    # A100 data sheet (SXM): 312 TFLOPS bf16, 19.5 fp32, 2,039 GB/s (PCIe 1,935)
    Device("a100-80", "A100 SXM 80 GB", _mib(81_920), 312, 312, None, 19.5, 2039,
           ("a100", "a100-80-pcie", "a100-pcie-80")),
    # Ampere white paper: A100 of 40 GB, 1,555 GB/s
    Device("a100-40", "A100 SXM 40 GB", _mib(40_960), 312, 312, None, 19.5, 1555,
           ("a100-40-pcie", "a100-pcie-40")),
    # L40S data sheet: 362.05 TFLOPS bf16, 733 fp8, 91.6 fp32, 864 GB/s
    Device("l40s", "L40S 48 GB", _mib(46_068), 362, 362, 733, 91.6, 864, ("l40s-48",)),
    # L4 data sheet: 242 TFLOPS bf16 and 485 fp8 with sparsity, 30.3 fp32, 300 GB/s
    Device("l4", "L4 24 GB", _mib(23_034), 121, 121, 242.5, 30.3, 300, ("l4-24",)),
    # A10 data sheet: 125 TFLOPS bf16, 31.2 fp32, 600 GB/s
    Device("a10", "A10 24 GB", _mib(23_028), 125, 125, None, 31.2, 600, ("a10-24",)),
    # A10G of AWS, data sheet: 70 TFLOPS bf16, 35 fp32, 600 GB/s
    Device("a10g", "A10G 24 GB", _mib(23_028), 70, 70, None, 35, 600, ("a10g-24",)),
    # A40 data sheet: 149.7 TFLOPS bf16, 37.4 fp32, 696 GB/s
    Device("a40", "A40 48 GB", _mib(46_068), 149.7, 149.7, None, 37.4, 696, ("a40-48",)),
    # RTX A6000 data sheet: 309.7 TFLOPS with sparsity, 38.7 fp32, 768 GB/s
    Device("a6000", "RTX A6000 48 GB", _mib(49_140), 154.8, 154.8, None, 38.7, 768,
           ("rtx-a6000",)),
    # RTX 6000 Ada data sheet: 1,457 TFLOPS fp8 with sparsity, 91.1 fp32, 960 GB/s
    Device("rtx6000-ada", "RTX 6000 Ada 48 GB", _mib(49_140), 364.2, 364.2, 728.5, 91.1, 960,
           ("6000-ada",)),
    # GeForce Blackwell white paper, with fp32 accumulate: 209.5 TFLOPS bf16, 104.8 fp32, 1,792 GB/s
    Device("5090", "RTX 5090 32 GB", _mib(32_607), 209.5, 209.5, 419, 104.8, 1792, ("rtx-5090",)),
    # Ada white paper, with fp32 accumulate: 165.2 TFLOPS bf16, 330.3 fp8, 82.6 fp32, 1,008 GB/s
    Device("4090", "RTX 4090 24 GB", _mib(24_564), 165.2, 165.2, 330.3, 82.6, 1008, ("rtx-4090",)),
    # Ampere GA102 white paper, with fp32 accumulate: 71 TFLOPS bf16, 35.6 fp32, 936 GB/s
    Device("3090", "RTX 3090 24 GB", _mib(24_576), 71, 71, None, 35.6, 936, ("rtx-3090",)),
    # V100 data sheet (SXM2): 125 TFLOPS fp16, no bf16, 15.7 fp32, 900 GB/s
    Device("v100-32", "V100 SXM2 32 GB", _mib(32_768), None, 125, None, 15.7, 900, ("v100",)),
    Device("v100-16", "V100 SXM2 16 GB", _mib(16_384), None, 125, None, 15.7, 900),
    # T4 data sheet: 65 TFLOPS fp16, no bf16, 8.1 fp32; the bandwidth is that of its product brief
    Device("t4", "T4 16 GB", _mib(15_360), None, 65, None, 8.1, 320, ("t4-16",)),
)  # fmt: skip

# NVIDIA, "CUDA GPU Compute Capability"
_CAPABILITIES = {
    "h200": (9, 0), "h100": (9, 0), "h100-pcie": (9, 0), "b200": (10, 0), "a100-80": (8, 0),
    "a100-40": (8, 0), "l40s": (8, 9), "l4": (8, 9), "a10": (8, 6), "a10g": (8, 6), "a40": (8, 6),
    "a6000": (8, 6), "rtx6000-ada": (8, 9),
    "5090": (12, 0), "4090": (8, 9), "3090": (8, 6), "v100-32": (7, 0), "v100-16": (7, 0),
    "t4": (7, 5),
}  # fmt: skip

CPU = "cpu"


def names() -> list[str]:
    """What `--device` takes, aliases left out."""
    return [CPU, *(device.name for device in DEVICES)]


def find(name: str) -> Device | None:
    """The device of a name or an alias; `None`: the CPU here.

    In any case, with or without dashes, `gb`, the vendor and what else `nvidia-smi` puts there:
    `v100-16`, `V100 16GB` and `Tesla V100-SXM2-16GB` are one.

    Raises:
        ConfigError: it is not in the table; the error lists all of them.
    """
    wanted = _plain(name)
    if wanted == CPU:
        return None
    by_name = {_plain(one): device for device in DEVICES for one in (device.name, *device.aliases)}
    if wanted in by_name:
        return by_name[wanted]
    near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.5)
    listed = ", ".join(f"{device.name} ({round(device.memory / 2**30)} GiB)" for device in DEVICES)
    raise ConfigError(
        "command line: --device",
        got=name,
        need=f"{CPU} (this machine's), or one of {listed}",
        hint=f"--device {by_name[near[0]].name}" if near else "",
    )


def chosen(
    name: str | None, *, bf16: bool | None, fp16: bool | None
) -> tuple[Device | None, Precision]:
    """(the device if it is not here, the precision on it).

    Args:
        name: as in `find`; `None`: what is here.
        bf16: as asked for in the run file.
        fp16: likewise.

    Raises:
        ConfigError: an unknown name, or a precision that the device does not have.
    """
    device = find(name) if name else None
    if device is not None:
        return device, device.precision(bf16=bf16, fp16=fp16)
    here = "cuda" if name is None and torch.cuda.is_available() else CPU
    return None, precisions.choose(here, bf16=bf16, fp16=fp16)


_LEFT_OUT = re.compile(
    r"nvidia|geforce|tesla|quadro|generation|sxm\d?|hbm\de?|(?<=\d)[\W_]?gi?b\b|[\W_]"
)


def _plain(name: str) -> str:
    return _LEFT_OUT.sub("", name.lower())
