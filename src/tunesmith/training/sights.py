"""What pictures, videos and sounds cost before the language model takes them.

The operations of towers and projectors are counted on their own code, without weights or numbers,
for some media of the data. How fast a device does them is taken from the language model's layers.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from tunesmith.compute.seen import through, weightless
from tunesmith.config.run import Run
from tunesmith.data.token_store import Examples
from tunesmith.models import adapters
from tunesmith.training.material import Material
from tunesmith.training.pace import Pace
from tunesmith.types import Media

_LOOKED_AT = 8
"""Media of the data whose operations are counted."""


class Sights(NamedTuple):
    """Operations of what stands beside the language model, for one medium on average."""

    forward: float = 0.0
    learning: float = 0.0
    """Share of it that a gradient goes back through, 0 to 1."""
    own_weights: bool = False
    """Whether its own weights learn, not adapters."""
    note: str = ""
    """Why it is not counted."""

    def operations(self, media: float) -> float:
        """Of so many media in training steps."""
        backward = (2 if self.own_weights else 1) * self.learning
        return media * self.forward * (1 + backward)

    def seconds(self, media: float, pace: Pace, *, body: int, trains: bool = True) -> float:
        """Of so many media, at the speed of the language model's layers.

        Args:
            media: how many.
            pace: of the language model.
            body: its parameters that a token goes through.
            trains: whether gradients go back.
        """
        back = self.learning if trains else 0.0
        token = (1 - back) * pace.forward.per_token + back * pace.both.per_token
        return media * self.forward * token / (2 * max(body, 1))


def sights(run: Run, material: Material) -> Sights:
    """Of the media of a run; a picture of which the features are kept costs nothing."""
    family, model = material.family, material.skeleton
    sample = [] if family is None else sample_of(material.data.train)
    if family is None or not sample:
        return Sights()
    counted = FlopCounterMode(display=False)
    try:
        with counted, torch.no_grad(), adapters.off(model):  # they add a percent or two
            for medium in sample:
                if run.media.cache_vision_features and medium.kind == "image":
                    continue
                inputs = family.inputs([medium])
                through(model, {k: weightless(v) for k, v in inputs.items()}, kind=medium.kind)
    except (RuntimeError, NotImplementedError, ValueError, AttributeError, TypeError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        return Sights(note=f"what towers compute is not in the predicted time here ({told})")
    return Sights(
        counted.get_total_flops() / len(sample),
        _learning(model),
        own_weights=run.method.finetuning_type != "lora",
    )


def sample_of(examples: Examples, count: int = _LOOKED_AT) -> list[Media]:
    """Media of rows from all over the data, at most so many."""
    rows = examples.num_media.nonzero()[0]
    spread = rows[:: max(1, len(rows) // count)].tolist()
    media = (medium for row in spread for medium in examples.media(row))
    return list(itertools.islice(media, count))


def _learning(model: Any) -> float:
    """Share of the parameters beside the language model that stand in parts which learn."""
    body, found = model.get_decoder(), {True: 0, False: 0}
    for part in model.base_model.children():
        if any(module is body for module in part.modules()):
            continue
        learns = any(p.requires_grad for p in part.parameters())
        found[learns] += sum(p.numel() for p in part.parameters())
    return found[True] / max(sum(found.values()), 1)
