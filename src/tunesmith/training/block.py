"""A plan in words: the block that is printed before a run."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tunesmith.training import estimated
from tunesmith.training.metrics import clock

if TYPE_CHECKING:
    from tunesmith.training.plan import Plan


Rows = list[tuple[str, str]]


def text(plan: Plan, width: int | None = None) -> str:
    """The block, wrapped to `width` columns: what is trained, what it takes, and then the rest."""
    of = [("estimate", estimated.line(plan.estimate))] if plan.estimate else []
    groups = [_what(plan), [*of, *_costs(plan)], _data(plan), _schedule(plan), _machine(plan)]
    groups.append([("note", note) for note in plan.notes])
    blocks = ["\n".join(row_text(*row, width) for row in rows) for rows in groups if rows]
    return "\n\n".join(blocks)


def _what(plan: Plan) -> Rows:
    percent = 100 * plan.trainable / plan.parameters
    return [
        ("model", plan.model),
        ("method", plan.method),
        (
            "trainable",
            f"{plan.trainable:,} || all: {plan.parameters:,} || trainable%: {percent:.4f}",
        ),
        ("linear modules", ", ".join(plan.linear_modules) or "none"),
        ("template", f"{plan.template}; stops at {' '.join(plan.stop_tokens)}"),
        ("output", plan.output_dir),
    ]


def _data(plan: Plan) -> Rows:
    return [
        ("examples", _examples(plan)),
        *(("", line) for line in plan.ledger),
        ("tokens", _tokens(plan)),
        *_layout(plan),
    ]


def _schedule(plan: Plan) -> Rows:
    return [
        ("epochs", f"{_mark(plan, 'epochs')}{plan.epochs:g}"),
        ("batch per device", f"{plan.batch_per_device}"),
        ("accumulation", f"{plan.accumulation}"),
        ("total batch", _batch(plan)),
        ("logging", f"every {_each(plan.log_every)}"),
        ("saving", _cadence(plan.save_every, plan.steps)),
        ("evaluation", _evaluation(plan)),
    ]


def _machine(plan: Plan) -> Rows:
    rows = [
        ("precision", plan.precision),
        ("attention", plan.attention),
        ("prefix sharing", plan.prefix_sharing),
        ("compiling", plan.compiling),
        ("recompute", _recompute(plan)),
        ("micro-batch", _micro_batch(plan)),
    ]
    if plan.forecast is not None:
        spent, mark = plan.forecast.flops, _mark(plan, "forecast")
        shares = [f"{k} {mark}{v / spent.total:.0%}" for k, v in spent._asdict().items() if v]
        parts = ", ".join(shares).replace("%", " %")
        rows.append(("operations", f"{mark}{operations(spent.total)}: {parts}"))
    return rows


def _mark(plan: Plan, key: str) -> str:
    return estimated.MARK if plan.estimate and key in plan.estimate["scaled"] else ""


def _about(plan: Plan) -> str:
    """Before what is predicted from scaled figures, or from counted ones."""
    return estimated.MARK if plan.estimate else "about "


def _examples(plan: Plan) -> str:
    train, held = _mark(plan, "train_examples"), _mark(plan, "eval_examples")
    return f"{train}{plan.train_examples:,} to train on, {held}{plan.eval_examples:,} held out"


def _tokens(plan: Plan) -> str:
    mark = _mark(plan, "tokens_per_epoch")
    share = 100 * plan.trained_tokens_per_epoch / max(plan.tokens_per_epoch, 1)
    return (
        f"{mark}{plan.tokens_per_epoch:,} per epoch, {mark}{share:.1f} % trained; "
        f"longest example {'of the sample ' if mark else ''}{plan.longest:,}"
    )


def _layout(plan: Plan) -> Rows:
    """What padding would have cost, and what packs leave empty."""
    if plan.forecast is None:
        return []
    made, mark = plan.forecast.layout, _mark(plan, "forecast")
    factor = made.padded_positions / max(made.positions, 1)
    share = _filled(plan) / max(made.positions, 1)
    text = f"{mark}{share:.1%} padding" if share else "no padding"
    text += f"; batches of {plan.batch_per_device} padded to their longest would "
    text += f"compute {mark}{factor:.2f} times as much" if factor > 1.005 else "compute as much"
    if plan.packs is not None:
        text += f"; {mark}{plan.packs:,} {plan.unit}, {mark}{made.empty_share:.1%} of their "
        text += "room empty"
    return [("layout", text.replace("%", " %"))]


def _filled(plan: Plan) -> int:
    """Positions of an epoch that fill up documents which stand side by side."""
    return plan.forecast.layout.positions - plan.tokens_per_epoch if plan.forecast else 0


def _costs(plan: Plan) -> Rows:
    """Steps, time, memory, disk, money."""
    steps, coming = ("steps", _steps(plan)), plan.forecast
    memory: Rows = [("memory", _memory(plan))]
    if plan.memory_components:
        memory.append(("", _parts(plan)))
    if coming is None:
        return [steps, ("time", f"about {duration(plan.seconds)}"), *memory]
    mark = _mark(plan, "forecast")
    time = f"{_about(plan)}{duration(coming.seconds)}, "
    time += f"{mark}{duration(coming.seconds_per_step)} a step"
    if coming.eval_seconds:
        time += f", and {mark}{duration(coming.eval_seconds)} in evaluations"
    disk = f"{_bytes(coming.disk.total)}: result {_bytes(coming.disk.result)}"
    if coming.disk.checkpoints:
        count = coming.disk.checkpoints
        each = "" if count == 1 else " each"
        what = "checkpoint" if count == 1 else "checkpoints"
        disk += f", {count} {what} of {_bytes(coming.disk.checkpoint)}{each}"
    rows = [steps, ("time", time), ("", coming.pace.source), *memory, ("disk", disk)]
    if coming.cost is not None:
        money = f"{_about(plan)}{coming.cost:,.2f} at {coming.price_per_hour:g} an hour"
        rows.append(("cost", money))
    return rows


def _batch(plan: Plan) -> str:
    what = "buckets of examples of like length" if plan.unit == "buckets" else plan.unit
    padding = "" if _filled(plan) else ", without padding"
    return f"{plan.global_batch} {what} per optimizer step{padding}"


def _steps(plan: Plan) -> str:
    count = plan.packs if plan.packs is not None else plan.train_examples
    mark, of_epoch = _mark(plan, "steps"), _mark(plan, "steps_per_epoch")
    warm = f", {mark}{plan.warmup_steps} of them warm-up" if plan.warmup_steps else ""
    last = 0 if of_epoch else count % plan.global_batch
    short = f"; the last step of an epoch holds {last}" if last else ""
    return f"{mark}{plan.steps:,} ({of_epoch}{plan.steps_per_epoch:,} per epoch{warm}{short})"


def _recompute(plan: Plan) -> str:
    return (
        f"{_mark(plan, 'recompute')}{plan.recompute} of {plan.layers} layers"
        if plan.recompute
        else "nothing"
    )


def _micro_batch(plan: Plan) -> str:
    mark = _mark(plan, "micro_batch_tokens")
    return f"up to {mark}{plan.micro_batch_tokens:,} tokens on {plan.device}"


def _memory(plan: Plan) -> str:
    return f"{_about(plan)}{_size(plan.memory_needed)} of {_size(plan.memory_free)} free"


def _parts(plan: Plan) -> str:
    """Components of at least a twentieth, largest first, and when they add up so."""
    parts = sorted(plan.memory_components.items(), key=lambda part: -part[1])
    large = [p for p in parts if p[1] >= plan.memory_needed / 20]
    mark = _mark(plan, "memory_components")
    said = ", ".join(f"{name} {mark}{_size(size)}" for name, size in large)
    return f"{said} at the fullest moment, {plan.memory_moment}"


def _evaluation(plan: Plan) -> str:
    if not plan.eval_examples:
        return "none: no rows are held out (val_size, eval_dataset)"
    if plan.eval_every is None:
        return "after the last step"
    if plan.eval_every > plan.steps:
        return f"after the last step; every {plan.eval_every} steps never comes in {plan.steps}"
    return f"every {_each(plan.eval_every)} and after the last"


_COLUMN = 20
"""Where the values of the block begin."""


def row_text(name: str, value: str, width: int | None) -> str:
    """A row of the block; in a terminal it is wrapped between words, below its own column."""
    head = f"  {name:<{_COLUMN - 3}} "
    if width is None or len(head) + len(value) <= width:
        return head + value
    return textwrap.fill(
        value,
        max(width, _COLUMN + 20),
        initial_indent=head,
        subsequent_indent=" " * _COLUMN,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _each(count: int) -> str:
    return "step" if count == 1 else f"{count} steps"


def _cadence(every: int | None, steps: int) -> str:
    if every is None or every > steps:
        return "after the last step"
    return f"every {_each(every)} and after the last"


def duration(seconds: float) -> str:
    """`0.013 s`, `4.2 s`, `1:02:03`: two digits that count, at least."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return clock(seconds)


def compared(predicted: float, happened: float) -> str:
    """How a prediction did: `predicted 0:01:40, took 0:01:46 (6 % longer)`."""
    off = happened / max(predicted, 1e-9) - 1
    word = f"{abs(off):.0%} {'longer' if off > 0 else 'shorter'}".replace("%", " %")
    verdict = "as predicted" if abs(off) < 0.005 else word
    return f"predicted {duration(predicted)}, took {duration(happened)} ({verdict})"


def operations(count: float) -> str:
    """`3.1 TFLOP`."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MFLOP"


def _bytes(count: int) -> str:
    if count >= 1 << 30:
        return f"{count / (1 << 30):,.1f} GiB"
    return f"{count / (1 << 20):,.1f} MiB"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
