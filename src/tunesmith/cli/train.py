"""`tunesmith train run.yaml`: tune a model, or go on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.cli import target
from tunesmith.cli.command import command, following
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError

_PLACES = ("output_dir=", "model_name_or_path=", "template=", "adapter_name_or_path=")
"""Keys that the run file alone would not give to the next command."""
_FIGURES: dict[str, Callable[[float], str]] = {
    "train_loss": "{:.4f}".format,
    "eval_loss": "{:.4f}".format,
    "eval_perplexity": "{:,.4g}".format,
    "eval_accuracy": "{:.2%}".format,
    "train_runtime": "{:,.1f} s".format,
    "train_tokens_per_second": "{:,.0f}".format,
    "peak_memory_bytes": lambda value: f"{value / (1 << 30):.1f} GiB",
}
"""What people want to know of a run, of all that is in `all_results.json`."""
_AGAIN = "TUNESMITH_FRESH_PROCESS"
"""Set for the one process that is started again because it computed otherwise."""


def run(arguments: argparse.Namespace) -> int:
    """Train; the exit code says whether it finished (0) or was stopped (75)."""
    asked = target.read(arguments.target, arguments.overrides, to_train=True)
    if asked.eval.do_predict and not asked.train.do_train:
        raise ConfigError(
            asked.where("do_predict"), got="do_predict without do_train", need="a run to train",
            hint=command("predict", arguments.target, *arguments.overrides),
        )  # fmt: skip
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stdout)
    report.say(target.reading(asked))
    from tunesmith.training.run import as_dict
    from tunesmith.training.signals import EXIT_STOPPED

    result = train(asked, report, fresh_process=_fresh_process)
    if arguments.json:
        print(json.dumps(as_dict(result), ensure_ascii=False))
    else:
        overlaid = any(text.startswith(_PLACES) for text in arguments.overrides)
        overlaid = overlaid or Path(arguments.target).is_dir()
        name = str(result.output_dir) if overlaid else arguments.target
        print(closing(result, name), flush=True)
    return EXIT_STOPPED if result.status == "stopped" else 0


def train(asked: Run, report: Any, *, fresh_process: Any = None) -> Any:
    """Train with held-out evaluation and signals wired in: what CLI and Python API share."""
    from tunesmith.cli.generated import figures_of
    from tunesmith.eval.held_out import evaluate
    from tunesmith.eval.text_scores import libraries
    from tunesmith.training import run as training
    from tunesmith.training.signals import stopper

    if asked.eval.predict_with_generate:
        libraries()
    with stopper() as heard:
        return training.train(
            asked,
            report=report,
            stopper=heard,
            evaluate=evaluate,
            answer=figures_of,
            fresh_process=fresh_process,
        )


def closing(result: Any, name: str) -> str:
    """The last lines: figures, where the result is, what to type next."""
    notes = "".join(f"note: {note}\n" for note in result.notes)
    if result.status == "stopped":
        return f"{notes}saved in {result.output_dir}; the same command goes on"
    shown = [
        f"  {key:<23}  {figure(result.metrics[key])}"
        for key, figure in _FIGURES.items()
        if key in result.metrics
    ]
    if shown:
        shown.append(f"  {'all figures':<23}  {result.output_dir / 'all_results.json'}")
    head = "this run was finished before" if result.status == "finished before" else "done"
    return "\n".join(
        [
            *([notes.rstrip()] if notes else []),
            head,
            *shown,
            f"result  {result.output_dir}",
            following("chat", name),
        ]
    )


def _fresh_process() -> None:
    """Start this very command again, once; the lock on the output directory is let go by exec."""
    if os.environ.get(_AGAIN):
        return
    os.environ[_AGAIN] = "1"
    print("this process computes otherwise than an earlier one: starting afresh", flush=True)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
