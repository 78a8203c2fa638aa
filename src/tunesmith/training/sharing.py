"""Whether the rows of a step are computed as a tree: how many tokens that saves, or why not.

Counted on the run's own steps, or on some of them; see `data.prefixes` for the layout and
`compute.tree_attention` for the arithmetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tunesmith.config.run import Run
from tunesmith.data import prefixes
from tunesmith.errors import ConfigError
from tunesmith.training import balancing
from tunesmith.training.estimated import MARK
from tunesmith.training.material import Material
from tunesmith.training.units import Units

_STEPS, _FEWEST, _TOKENS = 64, 4, 2_000_000
"""The most steps that are counted; the fewest, however long; about the most tokens."""
_WORTH = 0.02
"""Share of the tokens below which it is left alone."""
_BRANCHING = 4e6
"""Floating-point operations that a branching costs in each layer, in the time of its two calls
more of the attention kernel; measured, see docs/log.md."""


class Sharing(NamedTuple):
    """What is done, and what is known about it."""

    on: bool
    why: str = ""
    """Why it is off, or on without counting."""
    saved: float = 0.0
    """Share of all tokens that need not be computed where it is on."""
    sampled: bool = False
    """Whether only some steps were counted."""

    def computed(self, tokens: int) -> int:
        """Of so many tokens those that go through the model."""
        return round(tokens * (1 - self.saved)) if self.on else tokens

    def of_plan(self, tokens: int, *, scaled: bool) -> dict[str, Any]:
        """Its fields of the plan, for an epoch of so many tokens, counted or scaled."""
        return {
            "share": self.on,
            "prefix_sharing": self._text(tokens, MARK if scaled else ""),
            "computed_tokens_per_epoch": self.computed(tokens),
        }

    def _text(self, tokens: int, mark: str) -> str:
        if not self.on:
            return f"off: {self.why}"
        about = mark or ("about " if self.sampled else "")
        computed = self.computed(tokens)
        return (
            f"{mark}{tokens / computed:.2f}x fewer tokens: {about}{computed:,} of {mark}{tokens:,} "
            f"computed per epoch{self.why and '; '}{self.why}"
        )


class _Counted(NamedTuple):
    tokens: int
    computed: int
    branchings: int
    sampled: bool


def decide(
    run: Run,
    material: Material,
    units: Units,
    *,
    steps: int,
    max_tokens: int,
    body: int,
    before: bool | None = None,
) -> Sharing:
    """Whether rows share what they begin with in this run.

    Args:
        run: what was asked.
        material: what was found.
        units: which examples a step holds.
        steps: of the run.
        max_tokens: of a micro-batch.
        body: parameters of the layers.
        before: what was done at the first start of the run; `None`: this is the first.

    Raises:
        ConfigError: it is asked for, and the model cannot.
    """
    asked = run.train.prefix_sharing
    impossible = _impossible(run, material)
    if asked is True and impossible:
        raise ConfigError(
            run.where("prefix_sharing"), got=True, need=f"a run whose rows can share: {impossible}",
            hint="remove `prefix_sharing`",
        )  # fmt: skip
    again = "as at the first start of this run"
    if before is False or (before is None and (asked is False or impossible)):
        return Sharing(False, again if before is False else impossible or "prefix_sharing: false")
    if before is None and asked == "auto" and material.precision.device.type != "cpu":
        return Sharing(False, "not measured on a GPU yet; prefix_sharing: true turns it on")
    found = _count(run, material, units, steps=steps, max_tokens=max_tokens)
    saved = 1 - found.computed / found.tokens
    if before or asked is True:
        return Sharing(True, again if before else "", saved, found.sampled)
    if saved < _WORTH:
        few = f"share only {100 * saved:.1f} % of their tokens" if saved else "do not begin alike"
        return Sharing(False, f"the rows of a step {few}")
    per_token = 4 * body / material.facts.layers
    if (found.tokens - found.computed) * per_token < found.branchings * _BRANCHING:
        few = f"{100 * saved:.1f} % fewer tokens"
        return Sharing(False, f"in so small a model {few} do not pay for the branchings")
    return Sharing(True, "", saved, found.sampled)


def _impossible(run: Run, material: Material) -> str:
    known = material.facts
    if material.family is not None:
        return "rows with media, whose places look alike whatever stands there"
    if getattr(run.method, "lora_dropout", 0):
        return "with lora_dropout, each row drops something else of what they share"
    if balancing.coefficient(run, material.skeleton):
        return "the load of experts is kept even in each row for itself (moe_aux_loss_coef)"
    if known.carries_state:
        return "some layers carry state from token to token"
    if run.model.flash_attn != "auto":
        return f"flash_attn: {run.model.flash_attn} has no kernel for rows that branch"
    return ""


def _count(run: Run, material: Material, units: Units, *, steps: int, max_tokens: int) -> _Counted:
    """Tokens of some steps, spread evenly over the first epoch."""
    examples = material.data.train
    if material.data.sampled:  # rows that stand for others would seem to begin as these do
        examples = examples.distinct()
        units = Units(examples.lengths, run, units.unit)
    there = min(steps, units.per_epoch)
    affordable = _TOKENS * units.per_epoch // int(examples.lengths.sum())
    wanted = min(there, max(_FEWEST, min(_STEPS, affordable)))
    numbers = np.linspace(1, there, wanted).round().astype(int).tolist()
    tokens = computed = branchings = 0
    for number in numbers:
        rows = units.examples(number)
        tokens += int(examples.lengths[rows].sum())
        for part in prefixes.parts(examples, rows, max_tokens=max_tokens):
            computed += part.tokens
            branchings += len(part.chains) - 1
    return _Counted(tokens, computed, branchings, sampled=wanted < max(steps, units.per_epoch))
