"""Whether products in FP8 learn what products in the precision of the run would.

Before the first step the loss of some rows and its gradient toward everything that is trained are
taken twice, with inputs rounded and as they are. Weights are compared while they are rounded (see
`compute.float8`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tunesmith.compute import chance, float8
from tunesmith.compute.placed import placed
from tunesmith.config.run import Run
from tunesmith.data.batches import lay_out
from tunesmith.data.media.feed import Feed
from tunesmith.errors import ModelError
from tunesmith.models.adapters import trainable
from tunesmith.training.plan import Plan
from tunesmith.training.report import Report
from tunesmith.types import Batch, Example, Loss

_ROWS = 4
_MOST_LOSS = 0.02
"""Of the loss, relative."""
_LEAST_COSINE = 0.95
"""Between the gradients: rounding noise of some 0.03 a layer, added up, stays above 0.98."""


def tell(  # noqa: PLR0917
    report: Report,
    run: Run,
    plan: Plan,
    model: Any,
    examples: Sequence[Example],
    loss_of: Callable[[Any, Batch], Loss],
    *,
    see: Feed,
) -> None:
    """`check` on the first rows of a run whose products are in FP8; nothing for other runs."""
    held = run.model.quantization
    if held is None or held.kind != "fp8":
        return
    rows = range(min(_ROWS, len(examples)))
    batch = lay_out(examples, rows, max_tokens=see.room(plan.micro_batch_tokens))[0]
    batch = placed(see(batch), next(model.parameters()).device)
    report.say(f"note: {check(model, batch, loss_of, seed=run.train.seed)}")


def check(model: Any, batch: Batch, loss_of: Callable[[Any, Batch], Loss], *, seed: int) -> str:
    """What rounding changes, in words.

    Args:
        model: over weights in FP8, with what is trained marked; its gradients are thrown away.
        batch: some rows, on its device.
        loss_of: the stage's loss in the precision of the run.
        seed: of the run; both sides draw the same dropout.

    Raises:
        ModelError: the loss or the gradient becomes another one.
    """
    rounded_loss, rounded = _gradient(model, batch, loss_of, seed=seed)
    with float8.inputs_as_they_are():
        loss, gradient = _gradient(model, batch, loss_of, seed=seed)
    cosine = float(torch.nn.functional.cosine_similarity(rounded, gradient, dim=0))
    change = rounded_loss - loss
    told = f"loss {loss:.4f} becomes {rounded_loss:.4f}, cosine of the gradients {cosine:.4f}"
    if not (abs(change) <= _MOST_LOSS * abs(loss) and cosine >= _LEAST_COSINE):
        raise ModelError(
            float8.KEY,
            got=f"fp8 over {len(batch.rows)} rows: {told}",
            need=f"a loss that changes by at most {100 * _MOST_LOSS:.0f} % and a cosine of at "
            f"least {_LEAST_COSINE}; this model would learn something else",
            hint="quantization_method: bnb, or remove quantization_bit",
        )
    return f"products in fp8, tried on {len(batch.rows)} rows: {told}"


def _gradient(
    model: Any, batch: Batch, loss_of: Callable[[Any, Batch], Loss], *, seed: int
) -> tuple[float, Tensor]:
    chance.seek(seed=seed, step=1)
    loss = loss_of(model.train(), batch)
    (loss.minimised / loss.weight).backward()
    learned = [p for p in trainable(model).values() if p.grad is not None]
    gradient = torch.cat([p.grad.float().flatten() for p in learned if p.grad is not None])
    for parameter in learned:
        parameter.grad = None
    return float(loss.total.detach() / loss.weight), gradient
