"""A `.gguf` file -> a plain transformers directory, once, in the cache.

The weights are dequantised tensor by tensor into one safetensors file in float32, so that a
model needs no more memory here than its largest tensor. Config and tokenizer are built from the
file's own metadata (`gguf_config`, `gguf_tokenizer`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith import store
from tunesmith.errors import ModelError
from tunesmith.models import files, gguf_config, gguf_families, gguf_tokenizer

if TYPE_CHECKING:
    from gguf.gguf_reader import GGUFReader

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all."""

_VERSION = 2  # of this conversion: another number makes the cache convert again
_MAGIC = b"GGUF"
_HASH_CHUNK_BYTES = 1 << 22


def convert(path: Path, *, progress: Progress | None = None) -> Path:
    """The directory that a GGUF file stands for; converted on first use, verified on later ones.

    Args:
        path: the file.
        progress: told about hashing and converting.

    Raises:
        ModelError: no GGUF file, one that was cut off, an architecture or tokenizer that cannot
            be read with certainty, or tensors that do not make the model.
        StoreError: the cache cannot be written.
    """
    path = Path(path)
    _refuse_no_gguf(path)
    identity = _hash(path, progress)
    target = store.cache_root() / "models" / f"gguf-{identity[:24]}"
    with store.kept.held(target):
        if store.kept.facts(target) is not None:
            return target
        facts = {"source": path.name, "identity": identity}
        reader = _open(path)
        with store.publish(target, facts=facts) as directory:
            _write_all(reader, directory, where=str(path), progress=progress)
        store.kept.remember(target)
    return target


def unpack(path: Path, directory: Path) -> None:
    """The same into a directory of the caller's, with nothing kept.

    Raises:
        ModelError: see `convert`.
    """
    _refuse_no_gguf(Path(path))
    _write_all(_open(Path(path)), directory, where=str(path), progress=None)


def metadata(path: Path) -> dict[str, Any]:
    """What a file says about itself.

    Raises:
        ModelError: no GGUF file, or one that was cut off.
    """
    _refuse_no_gguf(Path(path))
    return {name: field.contents() for name, field in _open(Path(path)).fields.items()}


def _write_all(
    reader: GGUFReader, directory: Path, *, where: str, progress: Progress | None
) -> None:
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    write(reader, metadata, directory, where=where, progress=progress)


def write(
    reader: GGUFReader,
    metadata: Mapping[str, Any],
    directory: Path,
    *,
    where: str,
    progress: Progress | None = None,
) -> None:
    """Write everything that a model directory holds."""
    stored = {tensor.name: tensor for tensor in reader.tensors}
    shapes = {name: tuple(int(n) for n in t.shape[::-1]) for name, t in stored.items()}
    if int(metadata.get("split.count", 0)) > 1:
        raise ModelError(
            where,
            got=f"one of {metadata['split.count']} parts of a model",
            need="one file",
            hint="join them with llama.cpp's `llama-gguf-split --merge`",
        )
    kind = gguf_families.architecture(where, metadata)
    names = gguf_families.names(where, kind, shapes)
    if "token_embd.weight" not in shapes:
        raise ModelError(where, got="no token_embd.weight", need="a whole model")
    factors = stored.get("rope_freqs.weight")
    config = gguf_config.config(
        where, metadata, shapes, None if factors is None else _values(factors)
    )
    _write_json(directory / "config.json", config)
    _check_shapes(where, directory, {hf: shapes[name] for name, hf in names.items()})
    gguf_tokenizer.write(where, metadata, directory)
    _write_json(directory / "generation_config.json", _generation_config(metadata, config))
    restore = gguf_families.undo(kind, config)
    order = sorted(names, key=lambda name: names[name])

    def tensors() -> Iterable[np.ndarray]:
        total = sum(int(stored[name].n_bytes) for name in order)
        done = 0
        for name in order:
            yield restore(names[name], _values(stored[name]))
            done += int(stored[name].n_bytes)
            if progress is not None:
                progress("converting", done, total)

    shapes_out = {names[name]: shapes[name] for name in order}
    write_safetensors(directory / files.SINGLE, shapes_out, tensors())


def write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[np.ndarray]
) -> None:
    """Write float32 tensors one after the other; only one is in memory at a time.

    Format: u64 little-endian length, JSON header padded with spaces to 8 bytes, the tensors.

    Args:
        path: the file.
        shapes: name -> shape, in the order of `tensors`.
        tensors: float32, of those shapes.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            assert tensor.shape == shape, f"{name}: {tensor.shape} is not {shape}"
            file.write(np.ascontiguousarray(tensor, dtype="<f4").data)


def _values(tensor: Any) -> np.ndarray:
    from gguf.quants import dequantize

    shape = tuple(int(n) for n in tensor.shape[::-1])
    return dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float32, copy=False)


def _refuse_no_gguf(path: Path) -> None:
    if not path.is_file():
        near = files.nearest(path.name, [p.name for p in path.parent.glob("*")])
        raise ModelError(str(path), got="no such file", need=f"a .gguf file{near}")
    with path.open("rb") as file:
        start = file.read(len(files.LFS_POINTER))
    files.refuse_pointer(path, start)
    if not start.startswith(_MAGIC):
        raise ModelError(str(path), got=start[:8].hex(" "), need="a GGUF file (it begins 'GGUF')")


def _open(path: Path) -> GGUFReader:
    from gguf.gguf_reader import GGUFReader

    try:
        return GGUFReader(str(path))
    except Exception as error:  # the reader raises whatever its numpy views raise
        raise ModelError(
            str(path),
            got=f"{type(error).__name__}: {error}",
            need="a whole GGUF file; this one was cut off or is of an unknown version",
            hint="fetch the file again",
        ) from None


def _hash(path: Path, progress: Progress | None) -> str:
    """sha256 of the file and of the version of this conversion."""
    found = hashlib.sha256(f"{_VERSION}:{gguf_tokenizer.VERSION}:".encode())
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            found.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress("reading", done, total)
    return found.hexdigest()


def _check_shapes(where: str, directory: Path, got: Mapping[str, tuple[int, ...]]) -> None:
    """The tensors are exactly those of the model that the config describes."""
    from tunesmith.models.facts import empty_model
    from tunesmith.models.load import read_config

    model = empty_model(directory, read_config(directory))
    needed = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name in sorted(needed.keys() | got.keys()):
        if needed.get(name) != got.get(name):
            raise ModelError(
                f"{where}: {name}",
                got="no such tensor" if name not in got else f"shape {got[name]}",
                need=f"shape {needed[name]}" if name in needed else "no such tensor in the model",
                hint="fetch the file again, or use the model's safetensors directory",
            )


def _generation_config(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """All ids that end an answer, so that every engine stops where the model does."""
    keys = ("eos", "eot", "eom")
    ends = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in keys]
    ids = list(dict.fromkeys(i for i in ends if i is not None))
    made = {"eos_token_id": ids if len(ids) != 1 else ids[0]} if ids else {}
    for key in ("bos_token_id", "pad_token_id"):
        if config.get(key) is not None:
            made[key] = config[key]
    return made


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
