"""`tunesmith plan run.yaml`: what a run will do, without loading weights."""

from __future__ import annotations

import argparse
import json
import sys

from tunesmith.cli import target
from tunesmith.errors import printable


def options(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "--device", metavar="NAME", help="plan for another device: h200, a100-80, 4090, cpu …"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    asked = target.read(arguments.target, arguments.overrides, to_train=True)
    from tunesmith.training.report import Silent, report_for, width_of

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    from tunesmith.training import run as training

    plan, _ = training.plan(asked, report, device=arguments.device)
    report.close()
    text = printable(plan.text(width_of(sys.stdout)))
    print(json.dumps(plan.as_dict(), ensure_ascii=False) if arguments.json else text)
    return 0
