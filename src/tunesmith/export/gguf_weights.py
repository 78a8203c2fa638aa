"""A merged model as one GGUF file: weights, shape, tokenizer and chat template.

Weights are written tensor by tensor from the model in memory, so that no more than the largest
tensor is there twice. Matrices take the type of the format; norms, biases and rotary factors stay
in fp32, as llama.cpp reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from tunesmith.errors import ModelError
from tunesmith.export import gguf_shape
from tunesmith.models import gguf_families

Kind = Literal["f32", "f16", "bf16", "q8_0"]
_BLOCK = 32
"""Weights of a row that share a scale in q8_0."""
_FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # `llama_ftype` of llama.h
_QUANTISATION_VERSION = 2  # of ggml's blocks


def write(
    path: Path,
    model: Any,
    *,
    kind: Kind,
    vocabulary: Mapping[str, Any],
    name: str,
    where: str,
) -> None:
    """Write `path`.

    Args:
        path: the file; its directory exists.
        model: a causal language model of transformers, merged, in memory.
        kind: type of the matrices.
        vocabulary: keys of the tokenizer, from `gguf_vocabulary`.
        name: of the model, for people.
        where: for errors.

    Raises:
        ModelError: a family, config or weight that the file cannot hold.
    """
    import gguf

    config = model.config.to_dict()
    keys = gguf_shape.metadata(config, where)
    writer = gguf.GGUFWriter(None, keys.pop("general.architecture"))
    about = {
        "general.type": "model",
        "general.name": name,
        "general.file_type": _FILE_TYPES[kind],
        "general.quantization_version": _QUANTISATION_VERSION,
    }
    for key, value in {**about, **keys, **vocabulary}.items():
        _add(writer, gguf, key, value)
    weights = list(_weights(model, config, where))
    types = [_type(gguf, weight.shape, kind) for weight in weights]
    for weight, held in zip(weights, types, strict=True):
        shape = gguf.quant_shape_to_byte_shape(weight.shape, held)
        size = int(np.prod(shape))
        writer.add_tensor_info(weight.name, shape, np.dtype(np.uint8), size, raw_dtype=held)
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for weight, held in zip(weights, types, strict=True):
            writer.write_tensor_data(_packed(gguf, weight, held, where))
    finally:
        writer.close()


class _Weight(NamedTuple):
    """A tensor of the file; its values are made when they are asked for."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]
    """In fp32 and llama.cpp's order of rows."""


def _weights(model: Any, config: Mapping[str, Any], where: str) -> Iterator[_Weight]:
    _, kind = gguf_shape.family(config, where)
    change = gguf_families.do(kind, config)
    factors = gguf_shape.rope_factors(config, where)
    if factors is not None:
        yield _Weight(gguf_families.ROPE_FACTORS, factors.shape, lambda: factors)
    tied = bool(config.get("tie_word_embeddings"))
    for name, tensor in model.state_dict().items():
        if tied and name.startswith("lm_head."):
            continue
        stored = gguf_families.stored_name(kind, name)
        if stored is None:
            raise ModelError(
                f"{where}: {name}",
                got="a weight without a place in a GGUF file",
                need=f"weights of {kind.model_type}",
                hint="export_format: merged",
            )
        yield _Weight(stored, tuple(tensor.shape), partial(_values, change, name, tensor))


def _values(change: gguf_families.Change, name: str, tensor: torch.Tensor) -> np.ndarray:
    return change(name, tensor.detach().float().cpu().numpy())


def _type(gguf: Any, shape: tuple[int, ...], kind: Kind) -> Any:
    """Of a tensor in the file; rows that no block divides stay in f16."""
    if len(shape) < 2:
        kind = "f32"
    elif kind == "q8_0" and shape[-1] % _BLOCK:
        kind = "f16"
    return gguf.GGMLQuantizationType[kind.upper()]


def _packed(gguf: Any, weight: _Weight, held: Any, where: str) -> np.ndarray:
    """The bytes of a tensor, each row in the type that it is held in."""
    with np.errstate(over="ignore"):  # looked at below
        packed = gguf.quants.quantize(weight.values(), held)
    if packed.dtype == np.float16 and not np.isfinite(packed).all():
        raise ModelError(
            f"{where}: {weight.name}",
            got="weights beyond the largest number of f16, 65504",
            need="a type that holds them",
            hint="export_format: gguf-bf16",
        )
    return packed.view(np.uint8)


def _add(writer: Any, gguf: Any, key: str, value: Any) -> None:
    """A key in the type that llama.cpp reads it in."""
    if isinstance(value, list):
        writer.add_array(key, value)
        return
    types = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING"}
    writer.add_key_value(key, value, gguf.GGUFValueType[types[type(value)]])
