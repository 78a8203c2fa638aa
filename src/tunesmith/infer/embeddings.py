"""One vector for a text: the mean of the last hidden states of its tokens, of length 1.

What a model that was made to answer has to offer; models trained for retrieval do it better.

Shape letters: T tokens, W hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute.attention import decoder


@torch.inference_mode()
def embed(model: Any, ids: Sequence[int]) -> Tensor:
    """The vector (W,) f32 of a text.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        ids: of the text, at least one.
    """
    given = torch.tensor([list(ids)], device=model.device)
    hidden_TW = decoder(model)(input_ids=given, use_cache=False).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden_TW.float().mean(0), dim=0).cpu()
