"""From a run to a tuned model: plan, decide, load, train, save.

The order matters: everything that can be refused is refused before the model is loaded, and
nothing is written before the decision about the output directory has been made.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from tunesmith import store
from tunesmith.compute import rows
from tunesmith.compute.precision import pin
from tunesmith.config.load import require
from tunesmith.config.run import Run, flat
from tunesmith.data.registry import local_path
from tunesmith.data.sampled import Sampling
from tunesmith.errors import ConfigError, Error
from tunesmith.training import (
    devices,
    journal,
    metrics,
    outputs,
    planning,
    reading,
    resume,
    trackers,
)
from tunesmith.training.block import compared, row_text
from tunesmith.training.forecast import body_of
from tunesmith.training.job import Job
from tunesmith.training.material import Material, gather
from tunesmith.training.memory import advice, estimate
from tunesmith.training.memory.solve import Layout
from tunesmith.training.numerics import FreshProcess
from tunesmith.training.plan import Plan
from tunesmith.training.report import Report, pieces
from tunesmith.training.signals import Stopper
from tunesmith.training.watch import Watch

Evaluate = Callable[..., Mapping[str, float]]
"""`eval.held_out.evaluate`, handed in by the caller: siblings do not import each other."""

Answer = Callable[[Any, Material, Run, Callable[[int, int], None]], Mapping[str, float]]
"""`cli.generated.figures_of`, handed in likewise."""
OfModel = Callable[[], Mapping[str, float]]


class Result(NamedTuple):
    """What a run came to."""

    status: Literal["trained", "finished before", "stopped"]
    output_dir: Path
    plan: Plan
    metrics: Mapping[str, Any]
    """`all_results.json`; empty where the run was stopped."""
    notes: tuple[str, ...] = ()


def plan(
    run: Run,
    report: Report,
    *,
    weights: bool = False,
    today: datetime.date | None = None,
    device: str | None = None,
    sampling: Sampling | None = None,
) -> tuple[Plan, Material]:
    """Plan without training; weights need not have been downloaded.

    Args:
        run: what was asked.
        report: what the user sees.
        weights: whether they must be there: this process is to train.
        today: the date that some templates print; `None`: that of the start that is gone on with.
        device: what the plan is for, by its name (see `devices`); `None`: what is here.
        sampling: of how many rows a sample may stand for all; `None`: of none.

    Raises:
        Error: whatever is missing or wrong.
    """
    require(run, "model_name_or_path", "dataset")
    trackers.check(run.output.report_to)
    if device is not None:
        devices.find(device)  # a slip of the pen is told before the data are read
    today = today or reading.day(run)
    material = gather(run, report, weights=weights, today=today, device=device, sampling=sampling)
    return planning.make(run, material, trains=weights), material


def train(
    run: Run,
    *,
    report: Report,
    stopper: Stopper,
    evaluate: Evaluate,
    answer: Answer | None = None,
    fresh_process: FreshProcess | None = None,
) -> Result:
    """Train, or go on with, or find finished, the run.

    Args:
        run: what was asked.
        report: what the user sees.
        stopper: whether somebody wants it to stop.
        evaluate: held-out metrics of a model.
        answer: figures of its answers to held-out rows, for `predict_with_generate`.
        fresh_process: starts the program again; see `numerics`.

    Raises:
        Error: whatever is missing or wrong; nothing has been written then.
        TrainError: training cannot go on; the last checkpoint stands.
    """
    require(run, "model_name_or_path", "dataset", "output_dir")
    planned, material = plan(run, report, weights=True)
    output_dir = Path(str(run.output.output_dir))
    with store.lock(output_dir), ExitStack() as ending:
        start = resume.decide(
            output_dir,
            identity=planned.identity,
            steps=planned.steps,
            asked=run.asked,
            overwrite=run.output.overwrite_output_dir,
            start_over=run.train.resume_from_checkpoint is False,
            in_use=_in_use(run, material),
        )
        if start.kind == "fresh" and planned.day != str(datetime.date.today()):
            today = datetime.date.today()  # the day was that of a run which is moved aside
            planned, material = plan(run, report, weights=True, today=today)
        if start.kind == "finished":
            return Result("finished before", output_dir, planned, *_results(output_dir))
        before = resume.read(output_dir) if start.kind == "resume" else None
        pin(before.facts["threads"] if before else torch.get_num_threads())
        if before is not None:
            planned = planning.make(run, material, before=_before(before, material), trains=True)
        planned = _settled(run, planned, material)
        ending.enter_context(rows.compiling(on=planned.compiled))
        report.say(planned.text(report.width))
        for note in start.notes:
            report.say(row_text("note", note, report.width))
        refuse_too_large(run, material, planned)
        report.example(pieces(material.data.train[0], material.tokenizer))
        if start.move_aside:
            report.say(f"the old directory is now {store.move_aside(output_dir)}")
        store.require_space(output_dir, _checkpoint_bytes(planned))
        record = _begin(run, planned, output_dir)
        try:
            with _explained(run, material, planned):
                job = Job(
                    run, planned, material, output_dir, report=report, fresh_process=fresh_process
                )
        except Error:
            if before is None:  # what cannot be used has been found late: leave nothing
                resume.forget(output_dir)
            else:
                resume.write(output_dir, before)
            raise
        watch = _watch(job, _evaluating(job, evaluate, answer))
        try:
            stopper.can_save()
            with _explained(run, material, planned):
                stopped = _steps(job, watch, stopper)
            if stopped:
                note = f"stopped by {stopped} after step {watch.seen.progress.step}"
                return Result("stopped", output_dir, planned, {}, (note, *job.notes))
            results = _finish(job, watch)
            resume.finish(output_dir, record)
        finally:
            report.close()
            watch.close()
    return Result("trained", output_dir, planned, results, tuple(job.notes))


def _settled(run: Run, planned: Plan, material: Material) -> Plan:
    """The plan, without compiling where that does not work and nobody asked for it.

    Raises:
        ConfigError: it does not work, and the run file asks for it.
    """
    if not planned.compiled:
        return planned
    try:
        rows.try_compiler(material.precision.device)
    except ConfigError as error:
        if run.train.torch_compile:
            error.where = run.where(error.where)
            raise
        return dataclasses.replace(planned, compiled=False, compiling=f"off: it takes {error.need}")
    return planned


def _checkpoint_bytes(planned: Plan) -> int:
    """The least that the run writes: one checkpoint (fp32 weights, two moments) and the result."""
    return planned.trainable * 4 * 4


def _in_use(run: Run, material: Material) -> dict[str, Path]:
    """What the run reads from, by the key that names it."""
    named = run.train.resume_from_checkpoint
    items = (*run.dataset.dataset, *run.dataset.eval_dataset)
    paths = [path for item in items if (path := local_path(item))]
    return {
        "model_name_or_path": material.directory,
        **{f"adapter_name_or_path {i}": path for i, path in enumerate(material.adapters)},
        "dataset_dir": run.dataset.dataset_dir,
        **{f"dataset {path}": Path(path).expanduser() for path in paths},
        **({"resume_from_checkpoint": Path(named)} if isinstance(named, str | Path) else {}),
    }


def _begin(run: Run, planned: Plan, output_dir: Path) -> resume.Record:
    """The first file of the run: what it is, before anything else is written."""
    store.make_directory(output_dir)
    record = resume.Record(
        identity=planned.identity,
        steps=planned.steps,
        finished=False,
        asked=dict(run.asked),
        facts={
            "layout": planned.layout._asdict(),
            "threads": torch.get_num_threads(),
            "day": planned.day,
        },
    )
    resume.write(output_dir, record)
    return record


def _before(before: resume.Record, material: Material) -> Layout:
    """The layout of the first start, by which a run goes on to its end."""
    return Layout.of(before.facts["layout"], layers=material.facts.layers)


def _remedies(run: Run, material: Material, planned: Plan) -> list[advice.Remedy]:
    return advice.remedies(run, material, estimate.needs(run, material), planned.layout)


def _explained(run: Run, material: Material, planned: Plan) -> AbstractContextManager[None]:
    return advice.explained(planned.layout, lambda: _remedies(run, material, planned))


def refuse_too_large(run: Run, material: Material, planned: Plan) -> None:
    """Refuse a plan whose longest example does not fit the device; see `advice.refuse`.

    Raises:
        ConfigError: it does not fit, with what would take less.
    """
    advice.refuse(
        run.where,
        lambda: _remedies(run, material, planned),
        planned.layout,
        longest=planned.longest,
        device="cuda" if material.elsewhere else planned.device,
    )


def _evaluating(job: Job, evaluate: Evaluate, answer: Answer | None) -> OfModel:
    """Loss and, where they are asked for, figures of answers, of the model as it stands."""
    if not job.run.eval.predict_with_generate:
        return lambda: job.evaluate(evaluate)
    assert answer is not None, "whoever takes such a run brings it"
    tell = lambda done, of: job.report.work("answering", done, of)  # noqa: E731
    return lambda: {**job.evaluate(evaluate), **answer(job.model, job.material, job.run, tell)}


def _watch(job: Job, evaluate: OfModel) -> Watch:
    run = job.run
    metric = run.eval.metric_for_best_model or "eval_loss"
    greater = run.eval.greater_is_better
    return Watch(
        job.plan,
        job.journal,
        job.report,
        trackers=trackers.open_trackers(
            run.output.report_to,
            run_name=run.output.run_name or job.output_dir.name,
            directory=job.output_dir,
            config=flat(run),
        ),
        evaluate=evaluate if job.material.data.eval else None,
        metric=metric,
        greater_is_better=metric != "eval_loss" if greater is None else greater,
        patience=run.eval.early_stopping_steps,
        watched=job.watched,
    )


def _steps(job: Job, watch: Watch, stopper: Stopper) -> str | None:
    """Train to the end; the name of the signal that asked to stop before it."""
    plan, output = job.plan, job.run.output
    if watch.should_stop:  # before the process was interrupted, or more steps were asked for
        job.notes.append(
            f"stopped early at step {watch.seen.progress.step}: {watch.metric} had not become "
            f"better for {job.run.eval.early_stopping_steps} evaluations; more steps change nothing"
        )
        return None
    job.try_largest()
    began = time.monotonic()
    for step in job.steps(watch):
        now = time.monotonic()
        watch.step(step, seconds=now - began)
        last = step.number == plan.steps or watch.should_stop
        due = plan.save_every is not None and step.number % plan.save_every == 0
        best = job.run.eval.load_best_model_at_end and watch.is_best(step.number)
        if due or best or (last and output.save_strategy != "no") or (stopper.asked and not last):
            job.save(watch.seen)
        if watch.should_stop and step.number < plan.steps:
            job.report.say(f"stopped early: {watch.metric} has not become better")
            break
        if stopper.asked and not last:
            return stopper.asked
        began = time.monotonic()
    return None


def _finish(job: Job, watch: Watch) -> dict[str, Any]:
    """Write the result beside the log: weights, figures, plots."""
    run = job.run
    if job.material.data.eval and not _evaluated_last(watch):
        watch.evaluation()
    delivered = watch.seen.progress.step
    if run.eval.load_best_model_at_end and watch.seen.best is not None:
        job.load_best(watch.seen.best)
        delivered = watch.seen.best[0]
    evaluation = _evaluation_at(delivered, job.output_dir)
    progress, known = watch.seen.progress, job.material.facts
    results = metrics.train_results(
        progress,
        steps_per_epoch=job.plan.steps_per_epoch,
        parameters=body_of(known) + known.head_parameters,
        flops=_operations(job.plan, progress),
    )
    results |= _against_the_plan(job, progress)
    results |= job.memory()
    job.write_result(delivered)
    outputs.write_results(job.output_dir, train=results, evaluation=evaluation)
    outputs.write_trainer_state(
        job.output_dir, plan=job.plan, step=progress.step, best=watch.seen.best
    )
    if run.output.plot_loss:
        outputs.write_plots(job.output_dir)
    job.write_card({**results, **(evaluation or {})})
    return {**results, **(evaluation or {})}


def _operations(plan: Plan, progress: metrics.Progress) -> float:
    """Floating-point operations so far: those of the plan, by the tokens that were trained on."""
    assert plan.forecast is not None, "it has been carried out"
    return plan.forecast.flops.total * progress.computed / plan.forecast.work.tokens


def _against_the_plan(job: Job, progress: metrics.Progress) -> dict[str, Any]:
    """What was predicted beside what happened, told and kept."""
    predicted = job.plan.seconds * progress.step / max(job.plan.steps, 1)
    job.report.say(f"time in training steps: {compared(predicted, progress.elapsed_seconds)}")
    return {"predicted_runtime": round(predicted, 4)}


def _evaluated_last(watch: Watch) -> bool:
    seen = watch.seen
    return bool(seen.evaluations) and seen.evaluations[-1][0] == seen.progress.step


def _evaluation_at(step: int, output_dir: Path) -> dict[str, Any] | None:
    """The logged evaluation of the weights after a step."""
    records: Sequence[Mapping[str, Any]] = journal.read(output_dir / journal.FILE)
    found = [r for r in records if "eval_loss" in r and r["current_steps"] == step]
    if not found:
        return None
    return {k: v for k, v in found[-1].items() if k.startswith("eval_") or k == "epoch"}


def _results(output_dir: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The figures of a finished run, and a note where they are lost; its weights are not."""
    path = output_dir / "all_results.json"
    try:
        found = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError):
        found = None
    return (found, ()) if isinstance(found, dict) else ({}, (f"{path} cannot be read any more",))


def as_dict(result: Result) -> dict[str, Any]:
    """For `--json`."""
    return {
        "status": result.status,
        "output_dir": str(result.output_dir),
        "metrics": dict(result.metrics),
        "notes": list(result.notes),
        "plan": result.plan.as_dict(),
    }
