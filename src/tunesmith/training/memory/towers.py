"""What pictures, videos and sounds take of memory before the language model has them.

Towers and projectors run on some media of the data, one and then several of them, on tensors
without numbers, forward and back; what grows with their number and what does not is told apart.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tunesmith.compute import chance
from tunesmith.compute.fused import blocks
from tunesmith.compute.pretend import Counter, pretending, put_on
from tunesmith.compute.seen import through
from tunesmith.training.memory.rehearse import Costs, Setting, gradients_of

NONE = Costs(0.0, 0.0, 0.0)


class Look(NamedTuple):
    """Media of one kind, as they are read."""

    kind: str
    one: Mapping[str, Tensor]
    """What the model takes of one of them."""
    all: Mapping[str, Tensor]
    """What it takes of several."""
    several: int
    """How many those are."""

    def shapes(self) -> list[Any]:
        """All that the rehearsal depends on."""
        sides = [[(k, str(v.dtype), list(v.shape)) for k, v in x.items()] for x in self[1:3]]
        whole = [v.tolist() for v in self.all.values() if not v.is_floating_point()]
        return [self.kind, sides, whole, self.several]


class Towers(NamedTuple):
    """Bytes of a micro-batch beside the language model."""

    fixed: tuple[Costs, Costs] = (NONE, NONE)
    """However many media it has; with their layers kept, and computed again."""
    each: tuple[Costs, Costs] = (NONE, NONE)
    """Of one medium more."""
    per_token: float = 0.0
    """Media of a token of the rows that have some."""

    def at(self, tokens: int, *, again: bool) -> Costs:
        """Of a micro-batch of so many tokens.

        Args:
            tokens: of the micro-batch.
            again: whether layers are computed again.
        """
        media = tokens * self.per_token
        pairs = zip(self.fixed[again], self.each[again], strict=True)
        return Costs(*(a + media * b for a, b in pairs))


def rehearse(setting: Setting, looks: Sequence[Look]) -> list[list[Costs]]:
    """[what does not depend on the number of media, what one takes], each kept and again.

    Args:
        setting: what is rehearsed.
        looks: media of each kind that the data have.
    """
    model = copy.deepcopy(setting.model)
    whole = sum(look.several for look in looks)
    found: list[list[Costs]] = []
    with pretending() as counter, chance.aside():
        put_on(model, setting.device, setting.dtype)
        blocks.fuse(model)
        model.train()
        chance.seek(seed=0, step=1)
        for again in (False, True):
            chance.enable_checkpointing(model, None if again else 0)
            fixed, each = NONE, NONE
            for look in looks:
                one = _once(model, setting, counter, kind=look.kind, inputs=look.one)
                more = _once(model, setting, counter, kind=look.kind, inputs=look.all)
                slope = _apart(one, more, max(look.several - 1, 1)) if look.several > 1 else one
                rest = _apart(slope, one, 1) if look.several > 1 else NONE
                fixed = Costs(*map(max, fixed, rest))
                share = look.several / whole
                each = Costs(*(a + share * b for a, b in zip(each, slope, strict=True)))
            found.append([fixed, each])
    return [[found[0][0], found[1][0]], [found[0][1], found[1][1]]]


def _apart(low: Costs, high: Costs, steps: int) -> Costs:
    return Costs(*(max(0.0, b - a) / steps for a, b in zip(low, high, strict=True)))


def _once(
    model: Any, setting: Setting, counter: Counter, *, kind: str, inputs: Mapping[str, Tensor]
) -> Costs:
    """One forward and backward pass."""
    place = torch.device(setting.device)
    start = counter.mark()
    given = {
        name: torch.empty(t.shape, dtype=t.dtype, device=place) if t.is_floating_point() else t
        for name, t in inputs.items()
    }
    with setting.context(model):
        made = through(model, given, kind=kind)
    held = [getattr(made, "pooler_output", made), getattr(made, "deepstack_features", None)]
    del made
    out = [t for t in tree_leaves(held) if isinstance(t, Tensor) and t.requires_grad]
    kept, forward = counter.live - start, counter.peak - start
    before = counter.mark()
    if out:
        torch.autograd.backward(out, [torch.empty_like(t) for t in out])
    backward = counter.peak - before
    learned = [m for m in _beside(model) if any(p.grad is not None for p in m.parameters())]
    gradients = sum(gradients_of(module) for module in learned)
    for parameter in model.parameters():
        parameter.grad = None
    return Costs(kept, forward, backward, gradients)


def _beside(model: Any) -> list[Any]:
    """The parts of a model's body beside its text model."""
    body = model.get_decoder()
    parts = model.base_model.children()
    return [part for part in parts if not any(module is body for module in part.modules())]


def looks(family: Any, media: Sequence[Any]) -> list[Look]:
    """Media as the model takes them, each kind for itself.

    Raises:
        RowError: one cannot be read.
    """
    found = []
    for kind, group in itertools.groupby(sorted(media, key=lambda m: m.kind), lambda m: m.kind):
        some = list(group)
        found.append(Look(kind, family.inputs(some[:1]), family.inputs(some), len(some)))
    return found
