"""A base in 4 or 8 bits (QLoRA): which layers, how they are loaded, what they take.

Every linear layer of the text model but the head is quantised, one at a time while it is read,
so that the dense model never exists; embedding, head, norms and biases stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.compute import float8
from tunesmith.compute.bnb import library
from tunesmith.compute.quantized import Quantized, quantize
from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError
from tunesmith.models.adapter_rows import within
from tunesmith.models.adapter_spec import head_name, matching
from tunesmith.models.facts import Facts
from tunesmith.models.parts import parts

_METHOD = "tunesmith"
"""Under which transformers knows our quantizer."""
_BLOCK, _OUTER = 64, 256


def require(quantization: Quantization, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse to begin without what quantises.

    Raises:
        ConfigError: bitsandbytes is not installed, or there are no products in FP8.
    """
    if quantization.method == "fp8":
        float8.check(device, dtype)
    else:
        library("quantization_bit", instead="remove it")


def refuse_quantised(directory: Path, config: dict[str, Any]) -> None:
    """Refuse a model whose files hold fewer bits already: there is one way to them, ours.

    Raises:
        ModelError: config.json says that they do.
    """
    stored = config.get("quantization_config")
    if stored:
        method = stored.get("quant_method", "unknown") if isinstance(stored, dict) else stored
        raise ModelError(
            f"{directory}/config.json: quantization_config",
            got=f"weights quantised by {method}",
            need="weights in fp32, bf16 or fp16",
            hint="the model that it was made from, with quantization_bit: 4",
        )


def names(model: Any) -> list[str]:
    """Names of the layers that are quantised, in the model's order.

    Raises:
        ModelError: there are none.
    """
    head = head_name(model)
    of = parts(model)
    found = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name != head and of(name) == "language_model"
    ]
    if not found:
        raise ModelError(
            "quantization_bit",
            got=type(model).__name__,
            need="a model with linear layers of torch",
            hint="remove quantization_bit",
        )
    return found


def check(model: Any, *, in_full: Sequence[str]) -> None:
    """Refuse to let weights learn that are held in codes.

    Args:
        model: as it is before it has an adapter.
        in_full: names or path endings of modules that learn in full (`additional_target`).

    Raises:
        ModelError: there is nothing to quantise, or one of them is quantised.
    """
    held = names(model)
    learning = matching(model, in_full, "additional_target")
    wrong = [name for name in held if name in learning or within(name, learning)]
    if wrong:
        raise ModelError(
            "additional_target",
            got=wrong[0],
            need="modules that are not quantised: embedding, head, norms",
            hint="lora_target for linear layers, or remove quantization_bit",
        )


def parameters_of(model: Any) -> int:
    """How many weights of a model are quantised, from shapes alone."""
    return sum(model.get_submodule(name).weight.numel() for name in names(model))


def bytes_of(weights: int, quantization: Quantization) -> int:
    """Memory of so many quantised weights.

    4 bits: half a byte, and for each block of 64 a scale in fp32, or in 8 bits with one fp32
    scale for 256 blocks. 8 bits: a byte; one fp32 scale for a row is not counted. FP8: two bytes,
    since the turned weight is held too.
    """
    if quantization.method == "fp8":
        return 2 * weights
    if quantization.bits == 8:
        return weights
    scale = 1 + 4 / _OUTER if quantization.double else 4
    return round(weights * (0.5 + scale / _BLOCK))


def weight_bytes(facts: Facts, quantization: Quantization, *, element_bytes: int) -> int:
    """Memory of a whole model whose linear layers are quantised, from its facts.

    Args:
        facts: of the model.
        quantization: what was asked.
        element_bytes: of a weight that is not quantised.
    """
    inside = sum(linear.parameters for linear in facts.linear.values())
    largest = max((i * o for linear in facts.linear.values() for i, o in linear.shapes), default=0)
    if quantization.method == "fp8":
        largest = 0
    dense = facts.parameters - inside + largest  # one layer at a time is dense while it computes
    return dense * element_bytes + bytes_of(inside, quantization)


def in_place(model: nn.Module, quantization: Quantization) -> None:
    """Quantise the layers of a model that is in memory, as `loading` does those that are read."""
    for name in names(model):
        module = model.get_submodule(name)
        assert isinstance(module, nn.Linear), "names() gives linear layers"
        held = quantize(
            module.weight.detach(), quantization.kind, double=quantization.double, name=name
        )
        module.weight = nn.Parameter(held, requires_grad=False)


def taken(model: nn.Module) -> int:
    """Memory that the weights of a loaded model take, quantised or not; shared ones once."""
    return sum(
        p.bytes if isinstance(p, Quantized) else p.numel() * p.element_size()
        for p in model.parameters()
    )


def loading(
    quantization: Quantization, device: torch.device | str, dtype: torch.dtype
) -> dict[str, Any]:
    """What transformers' `from_pretrained` takes to quantise while it reads.

    Args:
        quantization: what was asked.
        device: where the codes go; the dense weight is there for a moment only.
        dtype: of what is not quantised.
    """
    require(quantization, torch.device(device), dtype)
    config = _registered()
    return {"quantization_config": config(quantization, torch.device(device))}


def _let_go_of_the_file(model: nn.Module) -> None:
    """Copy what is not quantised out of the file that it was mapped from.

    Of a dense model every page of the mapping is used; here one embedding would keep those in
    memory whose weights are held as codes now.
    """
    for parameter in model.parameters():
        if not isinstance(parameter, Quantized) and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


_known: list[Any] = []


def _registered() -> Any:
    """Our quantizer, made known to transformers once."""
    if not _known:
        _known.append(_register())
    return _known[0]


def _register() -> Any:
    from transformers.core_model_loading import ConversionOps
    from transformers.quantizers import register_quantization_config, register_quantizer
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    @register_quantization_config(_METHOD)
    class Config(QuantizationConfigMixin):
        """What was asked and where it goes."""

        def __init__(self, quantization: Quantization, device: torch.device) -> None:
            super().__init__(quant_method=_METHOD)  # pyright: ignore[reportArgumentType]
            self.quantization, self.device = quantization, device

    class Quantize(ConversionOps):
        """One weight as it is read."""

        def __init__(self, config: Config) -> None:
            self.config = config

        def convert(self, input_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
            """Name and dense weight to name and quantised weight."""
            how = self.config.quantization
            found = {}
            for name, value in input_dict.items():
                dense = (value[0] if isinstance(value, list) else value).to(self.config.device)
                weight = quantize(dense, how.kind, double=how.double, name=name)
                found[name] = nn.Parameter(weight, requires_grad=False)
            return found

    @register_quantizer(_METHOD)
    class Quantizer(HfQuantizer):
        """Which weights, and what becomes of them."""

        def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
            self.wanted = {f"{name}.weight" for name in names(model)}
            return model

        def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
            self.remove_quantization_config(model)  # it is nobody's business how it was loaded
            _let_go_of_the_file(model)
            return model

        def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
            return param_name in self.wanted

        def get_quantize_ops(self) -> Any:
            return Quantize(self.quantization_config)  # pyright: ignore[reportArgumentType]

        def is_serializable(self) -> bool:
            return False

        @property
        def is_trainable(self) -> bool:
            return True

    return Config
