"""How far a merged model is from what was trained, where that was trained over fewer bits.

An adapter learned over a quantised base is merged into the dense one: nothing is rounded to few
bits again, and what is served differs from what was trained by the error of the quantisation.
How much that is, the export measures on its probes and says.

Shape letters: T token positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tunesmith.config.model import Quantization
from tunesmith.errors import ConfigError
from tunesmith.export.gate import kl
from tunesmith.export.proof import Asked, Loading, logits, tuned_model

_FAR = 0.05
"""Nats from which on somebody will notice; 8 bits stay far below it."""


def note(
    model_dir: Path,
    adapter_dirs: Sequence[Path],
    asked: Asked,
    loading: Loading,
    *,
    quantization: Quantization,
) -> str:
    """One line: what was merged into what, and how much else it says.

    Args:
        model_dir: the base.
        adapter_dirs: what was put on it.
        asked: what the dense base says with the adapters.
        loading: how it was loaded.
        quantization: how the base was held in training.
    """
    begun = f"the adapter was trained over a {quantization} base and is merged into the dense one"
    if quantization.kind == "fp8":  # whose products have results in bf16 alone
        loading = loading._replace(dtype=torch.bfloat16)
    try:
        model = tuned_model(model_dir, adapter_dirs, loading, quantization=quantization)
    except ConfigError as error:
        return f"{begun}; how much that changes was not measured: {error.hint}"
    trained_TV, merged_TV = (torch.cat(x) for x in (logits(model, asked.probes), asked.tuned))
    same = float((trained_TV.argmax(1) == merged_TV.argmax(1)).float().mean())
    changed = kl(trained_TV, merged_TV)
    advice = "; what was trained is served by the adapter beside its base in the same bits"
    return (
        f"{begun}: as in training, the first choice is the same at {same:.1%} of "
        f"{len(trained_TV)} positions, mean KL divergence {changed:.2g} nats"
        f"{advice if changed > _FAR else ''}"
    )
