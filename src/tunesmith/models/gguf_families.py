"""Families of models that GGUF files are read into and written from: names, orders of weights.

One entry per architecture whose reading has been compared with transformers' own computation,
and whose writing has been read by llama.cpp. Tensor names are those of the GGUF specification
(github.com/ggml-org/ggml, docs/gguf.md).

Shape letters: H heads, E width of a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tunesmith.errors import ModelError

ROPE_FACTORS = "rope_freqs.weight"
"""A tensor that is part of the config, not of the weights."""
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FOUR_NORMS = _IN_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_TENSOR = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_LAYER_PARAMETER = re.compile(r"model\.layers\.(\d+)\.([\w.]+)\.(weight|bias)")
_GELU = "gelu_pytorch_tanh"


class Architecture(NamedTuple):
    """How one GGUF architecture becomes a transformers model, and back."""

    model_type: str
    class_name: str
    fixed: Mapping[str, Any]
    """Config keys that the file does not state because they never vary."""
    rotated_pairs: bool = False
    """Rows of q and k are stored pair by pair and have to be put back half by half."""
    norms_plus_one: bool = False
    """Norms are stored as what they multiply by: one more than transformers' weights."""
    in_layer: Mapping[str, str] = _IN_LAYER
    activation: str = "silu"
    full_attention_every: int = 1
    """Every so many layers one sees the whole context, the last of them; others a window."""
    windows: bool = False
    """Whether there are layers that see a window."""
    largest_by_width: int = 0
    """Models of so many layers divide attention by their width per head, not by E."""


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", "LlamaForCausalLM", {}, rotated_pairs=True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", {"use_sliding_window": False}),
    "qwen3": Architecture(
        "qwen3", "Qwen3ForCausalLM", {"use_sliding_window": False, "attention_bias": False}
    ),
    "gemma": Architecture(
        "gemma",
        "GemmaForCausalLM",
        {"attention_bias": False},
        norms_plus_one=True,
        activation=_GELU,
    ),
    "gemma2": Architecture(
        "gemma2",
        "Gemma2ForCausalLM",
        {"attention_bias": False},
        norms_plus_one=True,
        in_layer=_FOUR_NORMS,
        activation=_GELU,
        full_attention_every=2,
        windows=True,
        largest_by_width=46,
    ),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        {"attention_bias": False},
        norms_plus_one=True,
        in_layer=_FOUR_NORMS,
        activation=_GELU,
        full_attention_every=6,
        windows=True,
        largest_by_width=62,
    ),
}


def architecture(where: str, metadata: Mapping[str, Any]) -> Architecture:
    """The entry for a file.

    Raises:
        ModelError: none; lists those that there are.
    """
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise ModelError(
            f"{where}: general.architecture",
            got=name,
            need=f"one of {', '.join(ARCHITECTURES)}",
            hint="use the model's safetensors directory instead of the GGUF file",
        )
    return ARCHITECTURES[name]


def names(where: str, kind: Architecture, gguf_names: Iterable[str]) -> dict[str, str]:
    """GGUF tensor name -> transformers parameter name.

    Raises:
        ModelError: a tensor has no place in the model.
    """
    found = {}
    for name in gguf_names:
        if name == ROPE_FACTORS:
            continue
        layer = _LAYER_TENSOR.fullmatch(name)
        stem, _, suffix = name.rpartition(".")
        if layer and layer[2] in kind.in_layer:
            found[name] = f"model.layers.{layer[1]}.{kind.in_layer[layer[2]]}.{layer[3]}"
        elif stem in _OUTSIDE:
            found[name] = f"{_OUTSIDE[stem]}.{suffix}"
        else:
            raise ModelError(
                f"{where}: {name}",
                got="a tensor without a place in the model",
                need=f"tensors of {', '.join(ARCHITECTURES)}",
                hint="use the model's safetensors directory instead of the GGUF file",
            )
    return found


def stored_name(kind: Architecture, name: str) -> str | None:
    """Transformers parameter name -> GGUF tensor name, or `None`: it has no place there."""
    inside = {there: here for here, there in kind.in_layer.items()}
    outside = {there: here for here, there in _OUTSIDE.items()}
    layer = _LAYER_PARAMETER.fullmatch(name)
    stem, _, suffix = name.rpartition(".")
    if layer and layer[2] in inside:
        return f"blk.{layer[1]}.{inside[layer[2]]}.{layer[3]}"
    return f"{outside[stem]}.{suffix}" if stem in outside else None


def rotate(weights: np.ndarray, *, heads: int) -> np.ndarray:
    """Put the rows of q or k as llama.cpp stores them: the two of a rotary pair side by side.

    Args:
        weights: (H·E, …), E even; in transformers' order, where pairs stand half a head apart.
        heads: H, of the tensor at hand.
    """
    rest = weights.shape[1:]
    apart = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *rest)
    return np.ascontiguousarray(apart.swapaxes(1, 2)).reshape(weights.shape)


def unrotate(weights: np.ndarray, *, heads: int) -> np.ndarray:
    """Put the rows of q or k back: llama.cpp stores rotary pairs side by side, transformers apart.

    Args:
        weights: (H·E, …), E even.
        heads: H, of the tensor at hand.

    Returns:
        The same rows in transformers' order.
    """
    rest = weights.shape[1:]
    paired = weights.reshape(heads, weights.shape[0] // heads // 2, 2, *rest)
    return np.ascontiguousarray(paired.swapaxes(1, 2)).reshape(weights.shape)


Change = Callable[[str, np.ndarray], np.ndarray]
"""A tensor, by its transformers name, to what stands on the other side."""


def undo(kind: Architecture, config: Mapping[str, Any]) -> Change:
    """The function that turns a stored tensor, by its transformers name, into the model's."""
    return _changing(kind, config, unrotate, -1.0)


def do(kind: Architecture, config: Mapping[str, Any]) -> Change:
    """The function that turns a model's tensor, by its transformers name, into the stored one."""
    return _changing(kind, config, rotate, 1.0)


def _changing(kind: Architecture, config: Mapping[str, Any], turn: Any, one: float) -> Change:
    def change(name: str, weights: np.ndarray) -> np.ndarray:
        if kind.norms_plus_one and name.endswith("norm.weight"):
            return weights + np.float32(one)
        if kind.rotated_pairs and ".q_proj." in name:
            return turn(weights, heads=config["num_attention_heads"])
        if kind.rotated_pairs and ".k_proj." in name:
            return turn(weights, heads=config["num_key_value_heads"])
        return weights

    return change


def layer_types(kind: Architecture, layers: int) -> list[str]:
    """What each layer sees, by the pattern that llama.cpp has for the family."""
    every = kind.full_attention_every
    return [
        "full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(layers)
    ]


def attention_scalar(kind: Architecture, config: Mapping[str, Any]) -> int:
    """Whose square root attention is divided by, as llama.cpp takes it for the family."""
    if config["num_hidden_layers"] == kind.largest_by_width:
        return config["hidden_size"] // config["num_attention_heads"]
    return config["head_dim"]
