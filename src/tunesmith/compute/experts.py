"""Experts computed in the precision of the run.

Under autocast transformers computes linear layers in bf16 or fp16 over weights that are learned in
fp32, but not experts, whose weights stand in one tensor and whose product autocast does not know:
they would be computed in fp32, several times slower. Here their weights are cast as a linear
layer's are, and the gradient arrives at the fp32 weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "tunesmith_grouped_mm"
_STOCK = "grouped_mm"


class _Cast:
    """A module whose parameters read as those of another dtype."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self._module, self._dtype = module, dtype

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return found.to(self._dtype) if isinstance(found, nn.Parameter) else found


def prepare(model: Any) -> None:
    """Let a model compute its experts so, where it would compute them by transformers' usual way.

    Args:
        model: of transformers; a dense one stays as it is.
    """
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:  # an older transformers, whose experts are lists of linear layers
        return
    config = model.config.get_text_config()
    if getattr(config, "_experts_implementation", None) != _STOCK:
        return
    if not any(hasattr(module, "is_transposed") for module in model.modules()):
        return  # no module of the kind that asks for an implementation
    ALL_EXPERTS_FUNCTIONS.register(NAME, _forward)
    config._experts_implementation = NAME


def _forward(module: Any, hidden_TW: Tensor, chosen_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """What a layer's experts say, (T, W), in the dtype of the products."""
    from transformers.integrations.moe import grouped_mm_experts_forward

    kind = hidden_TW.device.type
    if not torch.is_autocast_enabled(kind):
        return grouped_mm_experts_forward(module, hidden_TW, chosen_TK, weights_TK)
    dtype = torch.get_autocast_dtype(kind)
    there: Any = _Cast(module, dtype)
    return grouped_mm_experts_forward(there, hidden_TW.to(dtype), chosen_TK, weights_TK.to(dtype))
