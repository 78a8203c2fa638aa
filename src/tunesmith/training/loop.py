"""The one training loop: micro-batches in, applied optimizer steps out.

There are no callbacks: whoever iterates decides what happens between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.errors import TrainError
from tunesmith.types import Batch, Loss, Step

LossOf = Callable[[nn.Module, Batch], Loss]


@dataclass
class LossScale:
    """Loss scaling for fp16: a step whose gradient overflows is computed again at half the scale.

    Unlike skipping, no rows are lost. State: two numbers, kept in the checkpoint.
    """

    value: float = 65536.0
    good_steps: int = 0
    grow_every: int = 2000

    def halve(self) -> bool:
        """Halve the scale; False when it cannot get smaller."""
        self.value, self.good_steps = self.value / 2, 0
        return self.value >= 1.0

    def step_was_good(self) -> None:
        """Count a step without overflow; double the scale after `grow_every` of them."""
        self.good_steps += 1
        if self.good_steps >= self.grow_every:
            self.value, self.good_steps = self.value * 2, 0


class _Done(NamedTuple):
    """What one optimizer step came to, on the device; nothing of it has been read yet."""

    number: int
    batches: Sequence[Batch]
    rate: float
    total: Tensor
    weight: Tensor
    norm: Tensor
    metrics: dict[str, Tensor]

    def not_finite(self) -> Tensor:
        """1 where loss or gradient is not finite, else 0, as fused optimizers ask for it."""
        return (~torch.isfinite(self.total + self.norm)).float()


def reads_late(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this optimizer skips an update by itself where a gradient is not finite.

    Fused kernels do, without telling the host; then the numbers of a step may be read while the
    next one is computed.
    """
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    work: Iterable[tuple[int, Sequence[Batch]]],
    loss_of: LossOf,
    *,
    learning_rate: Callable[[int], float],
    clip: float = 1.0,
    before_step: Callable[[int], None] = lambda number: None,
    origin_of: Callable[[int], str] = str,
    loss_scale: LossScale | None = None,
    late: bool = False,
) -> Iterator[Step]:
    """Run one optimizer step for each item of `work`.

    Gradients of the micro-batches are summed and divided once by the weight of the whole
    step, so the result does not depend on how the rows fell into micro-batches.

    Args:
        model: whose parameters with `requires_grad` are trained.
        optimizer: each parameter group may hold `lr_scale`, a factor on the rate.
        work: (number of the step, its micro-batches), numbers ascending.
        loss_of: sum and weight of one micro-batch.
        learning_rate: rate of step n, asked for when the step before has been yielded.
        clip: largest norm of the gradient; 0 leaves it as it is.
        before_step: told the number before the first forward of a step; dropout draws from it.
        origin_of: where row i of the examples stands, for error messages.
        loss_scale: for fp16 only.
        late: yield a step after the gradient of the next one has been asked for, so that a GPU
            never waits for the host: between two steps it has work. For an optimizer that
            `reads_late`; an update that is not finite is still never applied, nor is any after it.

    Raises:
        TrainError: the loss or gradient is not finite; no update has been applied.
    """
    assert not late or (loss_scale is None and reads_late(optimizer))

    def read(done: _Done) -> Step:
        step = _read(done)
        if math.isfinite(step.loss) and math.isfinite(step.grad_norm):
            return step
        optimizer.zero_grad(set_to_none=True)
        before_step(done.number)
        raise _not_finite(model, loss_of, step, done.batches, origin_of=origin_of)

    waiting: _Done | None = None
    for number, batches in work:
        before_step(number)
        done = _gradient(model, number, batches, loss_of, clip=clip, loss_scale=loss_scale)
        if waiting:
            yield read(waiting)
        done = done._replace(rate=learning_rate(number))
        for group in optimizer.param_groups:
            group["lr"] = done.rate * group.get("lr_scale", 1.0)
        if late:
            optimizer.found_inf = done.not_finite()  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            waiting = done
            continue
        step = read(done)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield step
    if waiting:
        yield read(waiting)


def _gradient(
    model: nn.Module,
    number: int,
    batches: Sequence[Batch],
    loss_of: LossOf,
    *,
    clip: float,
    loss_scale: LossScale | None,
) -> _Done:
    """The mean gradient of a step, clipped, in `.grad` of what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    while True:
        scale = loss_scale.value if loss_scale else 1.0
        total, weight, metrics = _accumulate(model, batches, loss_of, scale)
        norm = _divide_and_clip(trained, weight * scale, clip)
        if loss_scale is None:
            break
        if math.isfinite(norm.item()):
            loss_scale.step_was_good()
            break
        if not math.isfinite(total.item()) or not loss_scale.halve():
            break
        for parameter in trained:
            parameter.grad = None
    return _Done(number, batches, 0.0, total, weight, norm, metrics)


def _accumulate(
    model: nn.Module, batches: Sequence[Batch], loss_of: LossOf, scale: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Gradients of a step summed up; its loss, weight and metrics, on the device."""
    sums: dict[str, Tensor] = {}
    total = weight = torch.zeros((), device=batches[0].ids_T.device)
    for batch in batches:
        loss = loss_of(model, batch)
        small = loss.minimised
        if small.requires_grad:  # rows without pictures teach a projector nothing
            (small * scale if scale != 1.0 else small).backward()
        total, weight = total + loss.total.detach(), weight + loss.weight.detach()
        for name, value in loss.metrics.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    return total, weight, sums


def _divide_and_clip(parameters: Sequence[nn.Parameter], divisor: Tensor, clip: float) -> Tensor:
    """Divide the summed gradients by the weight of the step; their norm before clipping."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros_like(divisor)
    torch._foreach_div_(gradients, divisor)
    return torch.nn.utils.clip_grad_norm_(parameters, clip if clip > 0 else math.inf)


def _read(done: _Done) -> Step:
    """The numbers of a step, brought to the host at once."""
    names = list(done.metrics)
    values = (done.total, done.weight, done.norm, *(done.metrics[name] for name in names))
    numbers = torch.cat([v.flatten().float() for v in values]).cpu()
    shapes = [v.shape for v in values]
    parts = numbers.split([shape.numel() for shape in shapes])
    (total, weight, norm), sums = numbers[:3].tolist(), zip(parts[3:], shapes[3:], strict=True)
    return Step(
        number=done.number,
        loss=total / weight,
        grad_norm=norm,
        learning_rate=done.rate,
        weight=weight,
        tokens=sum(batch.num_tokens for batch in done.batches),
        metrics={
            name: (part.reshape(shape).double() / weight).tolist()
            for name, (part, shape) in zip(names, sums, strict=True)
        },
        examples=sum(len(batch.rows) for batch in done.batches),
        saved=sum(batch.saved for batch in done.batches),
    )


def _not_finite(
    model: nn.Module,
    loss_of: LossOf,
    step: Step,
    batches: Sequence[Batch],
    *,
    origin_of: Callable[[int], str],
) -> TrainError:
    """The error for a step without a finite loss and gradient, with the rows that cause it."""
    rows = [row for batch in batches for row in batch.rows]
    with torch.no_grad():
        guilty = [
            row
            for batch in batches
            if not math.isfinite(loss_of(model, batch).total.item())
            for row in batch.rows
        ]
    named = [origin_of(row) for row in guilty or rows]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return TrainError(
        f"step {step.number}",
        got=f"loss {step.loss:g}, gradient norm {step.grad_norm:g}",
        need=f"a finite loss and gradient; the update was not applied. Rows: "
        f"{', '.join(named[:5])}{more}",
        hint="a lower learning_rate, or look at these rows",
    )
