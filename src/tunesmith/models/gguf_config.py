"""What a GGUF file says about the model's shape -> config.json.

A key of the file that changes the computation and has no place here is an error: transformers
drops such keys (rope scaling among them) and computes something else.

The key names are those of the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tunesmith.errors import ModelError
from tunesmith.models import gguf_families
from tunesmith.models.gguf_families import ROPE_FACTORS, Architecture, architecture

_SHAPE_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_OTHER_KEYS = {
    "vocab_size",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "attention.key_length",
    "attention.value_length",
}
_ONE_BY_DEFAULT = {"rope.scaling.attn_factor", "logit_scale"}
_ZERO_BY_DEFAULT = {"expert_count", "expert_used_count"}
_WINDOW_KEYS = {
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention.sliding_window",
    "rope.freq_base_swa",
}
_SWA_BASE, _SWA_TOKENS = 10000.0, 4096  # what llama.cpp takes where a Gemma's file does not say


def config(
    where: str,
    metadata: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    rope_factors: np.ndarray | None = None,
) -> dict[str, Any]:
    """The content of config.json.

    Args:
        where: for errors.
        metadata: the file's keys and values.
        shapes: of all tensors, in torch's order.
        rope_factors: the tensor `rope_freqs.weight` where the file has one, (E/2,) f32.

    Raises:
        ModelError: a key is missing, or would change the computation and is not known here.
    """
    kind = architecture(where, metadata)
    name = metadata["general.architecture"]
    own = {k.removeprefix(f"{name}."): v for k, v in metadata.items() if k.startswith(f"{name}.")}
    _refuse_unknown_keys(where, name, own)
    missing = [k for k in _SHAPE_KEYS if k not in own and k != "attention.head_count_kv"]
    if missing:
        raise ModelError(where, got=f"no {name}.{missing[0]}", need="every shape of the model")
    made = {hf: own[key] for key, hf in _SHAPE_KEYS.items() if key in own}
    made.setdefault("num_key_value_heads", made["num_attention_heads"])
    made["rms_norm_eps"] = _short(made["rms_norm_eps"])
    heads = made["num_attention_heads"]
    made["head_dim"] = shapes.get("blk.0.attn_q.weight", (made["hidden_size"],))[0] // heads
    made["vocab_size"] = shapes["token_embd.weight"][0]
    made["tie_word_embeddings"] = "output.weight" not in shapes
    if kind.model_type == "llama":
        made["attention_bias"] = "blk.0.attn_q.bias" in shapes
        made["mlp_bias"] = "blk.0.ffn_up.bias" in shapes
    rope = _rope(where, own, made, rope_factors)
    special = {
        f"{key}_token_id": metadata.get(f"tokenizer.ggml.{gguf}_token_id")
        for key, gguf in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    return {
        "architectures": [kind.class_name],
        "model_type": kind.model_type,
        **made,
        **kind.fixed,
        "hidden_act": kind.activation,
        "rope_theta": rope["rope_theta"],  # where transformers 4 reads it
        "rope_parameters": rope,
        **(_windows(kind, own, made, rope) if kind.windows else {}),
        "dtype": "float32",
        **special,
    }


def _windows(
    kind: Architecture, own: Mapping[str, Any], made: Mapping[str, Any], rope: dict[str, Any]
) -> dict[str, Any]:
    """What a Gemma with windows says beyond other models; defaults are llama.cpp's."""
    capped = kind.model_type == "gemma2"
    caps = {
        "attn_logit_softcapping": own.get("attn_logit_softcapping", 50.0 if capped else None),
        "final_logit_softcapping": own.get("final_logit_softcapping", 30.0 if capped else None),
    }
    found = {
        "hidden_activation": kind.activation,
        "sliding_window": own.get("attention.sliding_window", _SWA_TOKENS),
        "layer_types": gguf_families.layer_types(kind, made["num_hidden_layers"]),
        "query_pre_attn_scalar": gguf_families.attention_scalar(kind, made),
        **{key: None if cap is None else _short(cap) for key, cap in caps.items()},
    }
    if not capped:
        near = {
            "rope_type": "default",
            "rope_theta": _short(own.get("rope.freq_base_swa", _SWA_BASE)),
        }
        found["rope_parameters"] = {"full_attention": rope, "sliding_attention": near}
    return found


def _refuse_unknown_keys(where: str, name: str, own: Mapping[str, Any]) -> None:
    windows = _WINDOW_KEYS if gguf_families.ARCHITECTURES[name].windows else set[str]()
    for key, value in own.items():
        if key in _SHAPE_KEYS or key in _OTHER_KEYS or key in windows:
            continue
        if (key in _ONE_BY_DEFAULT and value == 1) or (key in _ZERO_BY_DEFAULT and not value):
            continue
        raise ModelError(
            f"{where}: {name}.{key}",
            got=value,
            need="a key that is known to be computed as the file means it",
            hint="use the model's safetensors directory instead of the GGUF file",
        )


def _rope(
    where: str, own: Mapping[str, Any], made: Mapping[str, Any], factors: np.ndarray | None
) -> dict[str, Any]:
    theta = _short(own.get("rope.freq_base", 10000.0))
    if own.get("rope.dimension_count", made["head_dim"]) != made["head_dim"]:
        raise ModelError(
            f"{where}: rope.dimension_count",
            got=own["rope.dimension_count"],
            need=f"the width of a head, {made['head_dim']}",
        )
    if factors is not None:
        return _llama3_rope(where, theta, made["head_dim"], factors)
    kind = own.get("rope.scaling.type", "none")
    if kind in ("none", ""):
        return {"rope_type": "default", "rope_theta": theta}
    scaled = {"rope_type": kind, "rope_theta": theta}
    if "rope.scaling.factor" in own:
        scaled["factor"] = _short(own["rope.scaling.factor"])
    if kind == "linear" and "factor" in scaled:
        return scaled
    context = own.get("rope.scaling.original_context_length")
    if kind == "yarn" and "factor" in scaled and context:
        return scaled | {"original_max_position_embeddings": context}
    raise ModelError(
        f"{where}: rope.scaling.type",
        got=kind,
        need="none, linear, or yarn with factor and original context length",
        hint="use the model's safetensors directory instead of the GGUF file",
    )


def _llama3_rope(where: str, theta: float, head_dim: int, factors: np.ndarray) -> dict[str, Any]:
    """Find the llama3 scaling whose factors the file holds; published models share one shape."""
    asked = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for context in (8192, 4096, 16384, 32768):
        factor = _short(float(factors.max()))
        expected = llama3_factors(theta, head_dim, factor=factor, context=context, **asked)
        if factors.shape == expected.shape and np.allclose(factors, expected, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "rope_theta": theta,
                "factor": factor,
                **asked,
                "original_max_position_embeddings": context,
            }
    raise ModelError(
        f"{where}: {ROPE_FACTORS}",
        got=f"factors from {factors.min():g} to {factors.max():g}",
        need="the factors of Llama 3.1's rope scaling",
        hint="use the model's safetensors directory instead of the GGUF file",
    )


def llama3_factors(
    theta: float,
    head_dim: int,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    context: int,
) -> np.ndarray:
    """What each rotary frequency is divided by, (E/2,) f32: 1 for short waves, `factor` for long.

    Source: Llama 3.1's `apply_scaling`; between the two bounds it goes over smoothly.
    """
    frequency = theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    wavelength = 2 * math.pi / frequency
    smooth = (context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor)
    share = np.clip(smooth, 0.0, 1.0)
    return (1 / ((1 - share) / factor + share)).astype(np.float32)


def _short(value: float) -> float:
    """The shortest decimal that is this f32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
