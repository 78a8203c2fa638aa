"""What a model is, from its config alone: counts, shapes and names, on the meta device.

No weight is read and no memory taken, so that `tunesmith plan` answers in seconds for a model of
any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.errors import ModelError
from tunesmith.models import files

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class Linear(NamedTuple):
    """All linear modules of one name, for example every `q_proj`."""

    shapes: tuple[tuple[int, int], ...]
    """(inputs, outputs) as they occur, without repetition."""
    modules: int
    """How many there are."""
    parameters: int
    """Of all of them together, biases included."""


class Facts(NamedTuple):
    """What there is to know about a model before its weights are read."""

    model_type: str
    architecture: str
    """Name of the transformers class."""
    parameters: int
    """Total, tied weights once."""
    linear: dict[str, Linear]
    """By last part of the module name; the head is not among them."""
    layers: int
    hidden: int
    intermediate: int | None
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    """Rows of the embedding, which may exceed the tokenizer's tokens."""
    context_length: int | None
    """Tokens that the model was made for; `None`: config.json does not say."""
    embedding_parameters: int
    head_parameters: int
    """Counted although they may be the embedding's own."""
    aside_parameters: int
    """Of towers and projectors beside the language model, which tokens do not go through."""
    tied: bool
    sliding_window: int | None
    """Tokens that an attention layer looks back at most; `None`: all layers see everything."""
    carries_state: bool
    """Some layer carries state from token to token (linear attention, SSM, convolution)."""
    windowed_layers: int
    """Layers that look back no further than `sliding_window`."""
    experts: int | None
    idle_parameters: int
    """Of the experts that a token does not go through, in all layers together."""
    weight_bytes: int | None
    """Of the weights on disk; `None`: not there."""
    stored_dtype: str | None
    """The type that most of those bytes have, as safetensors spells it."""

    @property
    def linear_names(self) -> tuple[str, ...]:
        """Names that `lora_target: all` stands for, in the model's order."""
        return tuple(self.linear)


def facts(directory: Path, *, trust_remote_code: bool = False) -> Facts:
    """Read a model's facts from `config.json`, and the size of its weights from their headers.

    Raises:
        ModelError: no config.json, an unknown architecture, or broken weight files.
    """
    directory = Path(directory)
    from tunesmith.models.load import head_dim_of, read_config

    config = read_config(directory, trust_remote_code=trust_remote_code)
    model = empty_model(directory, config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    heads = getattr(text, "num_attention_heads", 1)
    weight_bytes, stored = _on_disk(directory)
    return Facts(
        model_type=config.model_type,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()),
        linear=_linear(model, head),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None),
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=head_dim_of(config),
        vocab=embedding.weight.shape[0],
        context_length=getattr(text, "max_position_embeddings", None),
        embedding_parameters=embedding.weight.numel(),
        head_parameters=0 if head is None else head.weight.numel(),
        aside_parameters=_aside(model, embedding, head),
        tied=head is not None and head.weight is embedding.weight,
        sliding_window=_sliding_window(text),
        carries_state=_carries_state(model, text),
        windowed_layers=_windowed_layers(text),
        experts=_experts(text),
        idle_parameters=_idle(model, text),
        weight_bytes=weight_bytes,
        stored_dtype=stored,
    )


def empty_model(
    directory: Path, config: PretrainedConfig, *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The model without memory for its weights (meta device).

    Raises:
        ModelError: transformers has no causal language model for this config.
    """
    import torch

    from tunesmith.models.classes import auto_class
    from tunesmith.models.load import explained, quiet

    with quiet(), explained(directory, config), torch.device("meta"):
        model = auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    model.tie_weights()
    return model


def _linear(model: nn.Module, head: nn.Module | None) -> dict[str, Linear]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    found: dict[str, Linear] = {}
    for name, module in model.named_modules():
        if module is head or not isinstance(module, nn.Linear | Conv1D):
            continue
        rows, columns = module.weight.shape
        shape = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
        group = name.rpartition(".")[2]
        before = found.get(group, Linear((), 0, 0))
        found[group] = Linear(
            before.shapes if shape in before.shapes else (*before.shapes, shape),
            before.modules + 1,
            before.parameters + sum(p.numel() for p in module.parameters()),
        )
    return found


def _aside(model: PreTrainedModel, *language: nn.Module | None) -> int:
    body = model.get_decoder()
    if body is None or body is model:
        return 0
    inside = {id(p) for part in (body, *language) if part is not None for p in part.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in inside)


def _sliding_window(text: PretrainedConfig) -> int | None:
    """Only where a layer uses it: Qwen2 states a window that its layer types may not use."""
    window = getattr(text, "sliding_window", None)
    types = getattr(text, "layer_types", None)
    return window if types is None or "sliding_attention" in types else None


def _windowed_layers(text: PretrainedConfig) -> int:
    types = getattr(text, "layer_types", None)
    if types is not None:
        return sum(kind == "sliding_attention" for kind in types)
    return text.num_hidden_layers if _sliding_window(text) else 0


def _experts(text: PretrainedConfig) -> int | None:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((count for name in names if (count := getattr(text, name, None))), None)


def _idle(model: PreTrainedModel, text: PretrainedConfig) -> int:
    """Experts stand in one tensor of three dimensions, the first of which counts them."""
    experts, used = _experts(text), getattr(text, "num_experts_per_tok", None)
    if not experts or not used:
        return 0
    held = sum(p.numel() for p in model.parameters() if p.ndim == 3 and p.shape[0] == experts)
    return held // experts * max(experts - used, 0)


def _carries_state(model: PreTrainedModel, text: PretrainedConfig) -> bool:
    """By what the layers say they are, and by transformers' own mark; unknown kinds count."""
    types = set(getattr(text, "layer_types", None) or ())
    return bool(types - _ATTENTION_LAYERS) or bool(getattr(model, "_is_stateful", False))


def _on_disk(directory: Path) -> tuple[int | None, str | None]:
    try:
        paths = files.weight_files(directory)
    except ModelError:
        if (directory / files.SINGLE).exists() or (directory / files.INDEX).exists():
            raise
        return None, None  # a plan may be made from config.json alone
    bytes_of: dict[str, int] = {}
    for path in paths:
        for info in files.read_header(path).values():
            bytes_of[info.dtype] = bytes_of.get(info.dtype, 0) + info.num_bytes
    if not bytes_of:
        return 0, None
    return sum(bytes_of.values()), max(bytes_of, key=lambda dtype: bytes_of[dtype])
