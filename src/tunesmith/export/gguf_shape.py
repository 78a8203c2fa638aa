"""What a GGUF file says about a model's shape, from its config; what it cannot say is refused.

The inverse of `models.gguf_config`. llama.cpp computes what it knows for the family and asks the
file for the rest, so a config that computes otherwise would be served as another model without a
word: each such key is an error that names it, before anything is loaded.

Shape letters: E width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tunesmith.errors import ModelError
from tunesmith.models import gguf_config, gguf_families
from tunesmith.models.gguf_families import ARCHITECTURES, Architecture

FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""transformers' model_type -> the architecture under which llama.cpp knows it."""
_HINT = "export_format: merged, which every family can be exported as"


def family(config: Mapping[str, Any], where: str) -> tuple[str, Architecture]:
    """The architecture that a config is written as, by name and entry.

    Args:
        config: of config.json, all defaults filled in.
        where: for errors.

    Raises:
        ModelError: a family that cannot be written, with those that can; or a key that llama.cpp
            computes otherwise.
    """
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise ModelError(
            f"{where}: model_type",
            got=model_type,
            need=f"a family that is written as GGUF: {', '.join(FAMILIES)}",
            hint=_HINT,
        )
    name = FAMILIES[model_type]
    kind = ARCHITECTURES[name]
    for key, allowed in _only(kind, config).items():
        if config.get(key, allowed[0]) not in allowed:
            raise ModelError(
                f"{where}: {key}",
                got=config[key],
                need=f"{' or '.join(map(str, allowed))}, as llama.cpp computes {name}",
                hint=_HINT,
            )
    _rope(kind, config, where)
    return name, kind


def _only(kind: Architecture, config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Keys that the file cannot state, with what llama.cpp takes for them."""
    context = config.get("max_position_embeddings")
    gelu = kind.activation != "silu"
    found: dict[str, tuple[Any, ...]] = {
        "hidden_act": (kind.activation, None),
        "use_sliding_window": (False, None),
        "use_bidirectional_attention": (False, None),
    }
    if config.get("hidden_activation") is not None:
        found["hidden_activation"] = (kind.activation,)
        found.pop("hidden_act")
    if gelu:
        found["attention_bias"] = (False, None)
        if kind.model_type != "gemma3_text":
            found["tie_word_embeddings"] = (True, None)  # their head is the embedding there
    if not kind.windows:
        window = config.get("sliding_window")
        whole = window is not None and context is not None and window >= context
        unused = config.get("use_sliding_window") is False
        found["sliding_window"] = (None, window) if whole or unused else (None,)
        return found
    found["layer_types"] = (gguf_families.layer_types(kind, config["num_hidden_layers"]),)
    found["query_pre_attn_scalar"] = (gguf_families.attention_scalar(kind, config),)
    if kind.model_type == "gemma3_text":
        found["attn_logit_softcapping"] = (None,)
    return found


def metadata(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The keys of a file that describe the model's shape.

    Args:
        config: of config.json, all defaults filled in.
        where: for errors.

    Raises:
        ModelError: see `family`.
    """
    name, kind = family(config, where)
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    scaled, _ = _rope(kind, config, where)
    own: dict[str, Any] = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "attention.key_length": width,
        "attention.value_length": width,
        "vocab_size": config["vocab_size"],
        **scaled,
    }
    if kind.rotated_pairs:
        own["rope.dimension_count"] = width
    if kind.windows:
        own["attention.sliding_window"] = config["sliding_window"]
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if kind.windows and config.get(key) is not None:
            own[key] = float(config[key])
    return {"general.architecture": name, **{f"{name}.{key}": v for key, v in own.items()}}


def rope_factors(config: Mapping[str, Any], where: str) -> np.ndarray | None:
    """What rotary frequencies are divided by, (E/2,) f32, where that is a tensor of the file."""
    return _rope(family(config, where)[1], config, where)[1]


def _rope(
    kind: Architecture, config: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Keys and tensor that say how positions are turned."""
    said = config.get("rope_parameters") or {}
    near: Mapping[str, Any] = {}
    if kind.model_type == "gemma3_text":
        said, near = said["full_attention"], said["sliding_attention"]
    theta = float(said.get("rope_theta", 10000.0))
    keys: dict[str, Any] = {"rope.freq_base": theta}
    if near:
        keys["rope.freq_base_swa"] = float(near["rope_theta"])
    how, far = said.get("rope_type", "default"), near.get("rope_type", "default")
    part = said.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    if far == "default" and part == 1.0:
        if how == "default":
            return keys, None
        scaling = {"rope.scaling.type": how, "rope.scaling.factor": float(said.get("factor") or 0)}
        if how == "linear" and not _more(said):
            return keys | scaling, None
        context = said.get("original_max_position_embeddings")
        if how == "yarn" and context and not _more(said, "original_max_position_embeddings"):
            return keys | scaling | {"rope.scaling.original_context_length": context}, None
        if how == "llama3" and kind.rotated_pairs:
            return keys, _llama3(config, said, where)
    raise ModelError(
        f"{where}: rope_parameters",
        got=config["rope_parameters"],
        need=f"none, linear, yarn as transformers computes it by default, or llama3 (of llama), "
        f"as llama.cpp computes {kind.model_type}",
        hint=_HINT,
    )


def _more(said: Mapping[str, Any], *known: str) -> list[str]:
    """Keys of a scaling that would change what it computes and have no place in the file."""
    plain = {"rope_type", "type", "rope_theta", "factor", "partial_rotary_factor", *known}
    usual = {"beta_fast": 32, "beta_slow": 1, "truncate": True}
    return [
        key
        for key, value in said.items()
        if key not in plain and value is not None and value != usual.get(key)
    ]


def _llama3(config: Mapping[str, Any], said: Mapping[str, Any], where: str) -> np.ndarray:
    keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    missing = [key for key in keys if not said.get(key)]
    if missing:
        raise ModelError(f"{where}: rope_parameters", got=dict(said), need=missing[0])
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    factor, low, high, context = (said[key] for key in keys)
    return gguf_config.llama3_factors(
        float(said["rope_theta"]),
        width,
        factor=float(factor),
        low_freq_factor=float(low),
        high_freq_factor=float(high),
        context=int(context),
    )
