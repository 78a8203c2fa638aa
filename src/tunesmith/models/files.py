"""Reading what lies in a model directory: JSON, and weight files that are what they claim to be.

Nothing here opens a tensor. A weight file is checked by its header alone, so that a git-lfs
pointer, a download that was cut off or a missing shard is named before anything is loaded.
"""

from __future__ import annotations

import difflib
import json
import math
import stat
import struct
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ModelError
from tunesmith.models import kinds

LFS_POINTER = b"version https://git-lfs"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


class TensorInfo(NamedTuple):
    """One tensor as the header of a safetensors file describes it."""

    dtype: str
    """As safetensors spells it: `F32`, `BF16`, `F16`, `I8` …"""
    shape: tuple[int, ...]
    num_bytes: int


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model directory; what it says of tokens has the right kind.

    Raises:
        ModelError: the file is missing, is a git-lfs pointer, is not a JSON object, or says
            of a key that is read here something of another kind.
    """
    raw = read_bytes(path)
    refuse_pointer(path, raw[: len(LFS_POINTER)])
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            str(path), got=str(error), need="valid JSON in UTF-8", hint="fetch the file again"
        ) from None
    if not isinstance(value, dict):
        raise ModelError(str(path), got=type(value).__name__, need="a JSON object")
    for key, kind in kinds.OF_FILE.get(path.name, {}).items():
        kinds.check(value, key, kind, path)
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Like `read_json`; an empty object where there is no such file."""
    return read_json(path) if path.exists() else {}


def read_bytes(path: Path, length: int = -1) -> bytes:
    """What a file of a model directory begins with; by default, all of it.

    Raises:
        ModelError: it is missing, no plain file (a pipe would be waited for), or unreadable.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            got = "a directory" if path.is_dir() else "no plain file"
            raise ModelError(str(path), got=got, need="a readable file")
        with path.open("rb") as file:
            return file.read(length)
    except OSError as error:
        raise ModelError(
            str(path), got=error.strerror or str(error), need="a readable file"
        ) from None


def read_text(path: Path) -> str:
    """A text file of a model directory.

    Raises:
        ModelError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ModelError(str(path), got=str(error), need="text in UTF-8") from None


def refuse_pointer(path: Path, start: bytes | None = None) -> None:
    """Refuse a git-lfs pointer that stands where the file itself should.

    Raises:
        ModelError: the file begins as a pointer does.
    """
    if start is None:
        start = read_bytes(path, len(LFS_POINTER))
    if start.startswith(LFS_POINTER):
        raise ModelError(
            str(path),
            got="a git-lfs pointer of about 130 bytes",
            need="the file itself; the repository was cloned without git-lfs",
            hint=f"cd {path.parent} && git lfs install && git lfs pull",
        )


def refuse_pointer_if_there(path: Path) -> None:
    """`refuse_pointer` for a file that may be missing."""
    if path.exists():
        refuse_pointer(path)


def nearest(name: str, names: list[str]) -> str:
    """`; nearest: x`, or nothing where no name is near."""
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; nearest: {found[0]}" if found else ""


def weight_files(directory: Path) -> list[Path]:
    """Every safetensors file of the model, from the index where it is sharded, checked to be whole.

    Raises:
        ModelError: no weights, pickled weights only, a shard that is missing, an index that
            leads out of the directory, a pointer, or a file that was cut off.
    """
    index = directory / INDEX
    if (directory / SINGLE).exists():
        files = [directory / SINGLE]
    elif index.exists():
        files = _shards(directory, index)
    else:
        raise _without_weights(directory)
    for file in files:
        read_header(file)
    return files


def _shards(directory: Path, index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(str(index), need="a `weight_map` from tensor names to files")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if "\\" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(
                f"{index}: weight_map", got=name, need="file names inside the model directory"
            )
    missing = [name for name in names if not (directory / name).exists()]
    if missing:
        raise ModelError(
            str(index),
            got=f"{len(names) - len(missing)} of {len(names)} shards; missing {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            need="every shard that the index names",
            hint=f"tunesmith download MODEL --to {directory} (it goes on where it stopped)",
        )
    return [directory / name for name in names]


def _without_weights(directory: Path) -> ModelError:
    names = sorted(p.name for p in directory.iterdir() if p.is_file())
    pickled = [n for n in names if n.endswith(_PICKLES) and "training_args" not in n]
    if pickled:
        return ModelError(
            str(directory),
            got=f"pickled weights only: {', '.join(pickled[:4])}",
            need=f"{SINGLE}; opening a pickle can run code, so it is never done",
            hint="fetch the safetensors version of the model, or convert it with transformers "
            "in a sandbox: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)",
        )
    stray = [n for n in names if n.endswith(".gguf")]
    hint = f"name the file itself: {directory / stray[0]}" if stray else "name another directory"
    return ModelError(str(directory), got=", ".join(names[:8]), need=f"{SINGLE}", hint=hint)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors that a safetensors file holds, and the promise that all of their bytes are there.

    Format: u64 little-endian length N, N bytes of JSON, then the tensors
    (https://github.com/huggingface/safetensors, "Format").

    Raises:
        ModelError: a pointer, no safetensors file, or one that was cut off.
    """
    start = read_bytes(path, len(LFS_POINTER))
    refuse_pointer(path, start)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not 2 <= length <= _MAX_HEADER_BYTES or start[8:9] != b"{":
            raise ModelError(str(path), got=start[:16].hex(" "), need="a safetensors file")
        file.seek(8)
        raw = file.read(length)
    if len(raw) < length:
        raise _cut_off(path, size, 8 + length)
    try:
        tensors = _tensors(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelError(
            str(path),
            got="a broken header",
            need="a safetensors file",
            hint="fetch the file again; `tunesmith download MODEL --to DIR` verifies",
        ) from None
    end = 8 + length + sum(info.num_bytes for info in tensors.values())
    if size != end:
        raise _cut_off(path, size, end)
    return tensors


def _tensors(header: dict[str, Any]) -> dict[str, TensorInfo]:
    """What a header says, held to what the library will hold it to: no hole, no byte twice.

    Raises:
        ValueError: it says what cannot be; other things where it is no such object at all.
    """
    told = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in told.values()):
        raise ValueError("metadata is text")
    found, end = {}, 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = t["data_offsets"]
        shape = tuple(t["shape"])
        if not all(type(x) is int and x >= 0 for x in (first, last, *shape)):
            raise ValueError("sizes are whole numbers")
        bits = _BITS[t["dtype"]] * math.prod(shape)
        if first != end or 8 * (last - first) != bits:
            raise ValueError("tensors lie side by side, as large as their shapes")
        found[name], end = TensorInfo(t["dtype"], shape, last - first), last
    return {name: found[name] for name in header}


def _cut_off(path: Path, size: int, needed: int) -> ModelError:
    return ModelError(
        str(path),
        got=f"{size:,} bytes",
        need=f"{needed:,} bytes by its own header; the file was cut off or added to",
        hint="fetch the file again; `tunesmith download MODEL --to DIR` resumes and verifies",
    )


def readable(directory: Path) -> None:
    """Let everybody read what is in a directory: safetensors writes for the owner alone."""
    for path in directory.iterdir():
        if path.is_file():
            path.chmod(0o644)
