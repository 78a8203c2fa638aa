"""Memory of this machine: what is free, what this process takes, what it took at most."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from pathlib import Path

_STARTED = 10 << 20
"""What libraries take with their first step, beyond what the rehearsal made them take; measured."""
_CONTEXT = 600 << 20
"""Of a CUDA context and its libraries."""


def free_bytes(device: str) -> int:
    """What a run could have in all: of the GPU, else of this machine or its container.

    What this process has taken already counts as free: it is the run's.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0]) + _CONTEXT
    return min(_meminfo("MemAvailable"), *_group_rooms(), *_process_rooms()) + resident_bytes()


def _group_rooms() -> list[int]:
    """What the groups leave that this process is in (containers, batch systems), from inside out.

    Pages of files count as used there, and are given back when memory is wanted.
    """
    found = []
    for kind, path in _groups():
        root, limit, used = _GROUPS[kind]
        folder = Path(f"{root}{path}")
        for place in (folder, *folder.parents):
            room, taken = _number(place / limit), _number(place / used)
            if room is not None and taken is not None:
                found.append(room - taken + _pages_of_files(place / "memory.stat"))
            if str(place) == root:
                break
    return found


_GROUPS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""Where the groups of both versions stand, and how their files are called; cgroups(7)."""


def _groups() -> list[tuple[str, str]]:
    """(version, path) of the groups of this process that may limit memory."""
    found = [("", "/"), ("memory", "/")]  # the root: inside a container it is its own
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf8").splitlines():
            _, controllers, path = line.split(":", 2)
            found += [(kind, path) for kind in controllers.split(",") if kind in _GROUPS]
    return list(dict.fromkeys(found))


def _pages_of_files(path: Path) -> int:
    with contextlib.suppress(OSError):
        lines = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        return sum(int(lines.get(name, 0)) for name in ("active_file", "inactive_file"))
    return 0


def _process_rooms() -> list[int]:
    """What `ulimit -v` and `-d` leave."""
    with contextlib.suppress(ImportError):  # not everywhere
        import resource

        pairs = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))
        limits = [(resource.getrlimit(kind)[0], _status(key)) for kind, key in pairs]
        return [
            room - used
            for room, used in limits
            if used is not None and room != resource.RLIM_INFINITY
        ]
    return []


def swap_bytes(device: str) -> int:
    """Free swap, which an estimate that is too high may fall back on."""
    return 0 if device == "cuda" else _meminfo("SwapFree", 0)


def process_bytes(device: str) -> int:
    """What stands beside the tensors of a run."""
    if device == "cuda":
        return _CONTEXT
    give_back()
    return resident_bytes() + _STARTED


def give_back() -> None:
    """Return to the system what the allocator holds of memory that was freed.

    Reading weights leaves hundreds of MiB behind that steps, whose tensors are of other sizes,
    would not use. Other C libraries than glibc have no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    return _status("VmRSS") or peak_bytes("cpu")


def reset_peak(device: str) -> int:
    """Let the peak begin here, where the system allows it; what it was before."""
    before = peak_bytes(device)
    give_back()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return before
    with contextlib.suppress(OSError):  # "5" sets the peak to what is resident now: proc(5)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return before


def peak_bytes(device: str) -> int:
    """The most that this process held since `reset_peak`, on that device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved()) + _CONTEXT
    found = _status("VmHWM")
    if found is None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found


def processor() -> str:
    """The kind of processor, by its name and how many there are."""
    names = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
        names = [line for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} {os.cpu_count()}"


def compared(predicted: int, measured: int) -> str:
    """The line that ends a run."""
    gib = 1 << 30
    return f"memory: {predicted / gib:.1f} GiB predicted, {measured / gib:.1f} measured"


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key + ":"))
    except (OSError, StopIteration):
        return None


def _meminfo(key: str, otherwise: int | None = None) -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        if otherwise is not None:
            return otherwise
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
