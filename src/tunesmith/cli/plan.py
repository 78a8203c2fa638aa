"""`tunesmith plan run.yaml`: what a run will do, without loading weights."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from tunesmith.cli import target
from tunesmith.errors import Error, printable

if TYPE_CHECKING:
    from tunesmith.config.run import Run
    from tunesmith.data.sampled import Sampling
    from tunesmith.training.material import Material
    from tunesmith.training.plan import Plan


def options(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "--device", metavar="NAME", help="plan for another device: h200, a100-80, 4090, cpu …"
    )
    from tunesmith.data.sampled import BY_DEFAULT

    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--exact", action="store_true", help="prepare all rows, however many")
    rows.add_argument(
        "--sample",
        metavar="ROWS",
        type=_rows,
        help=f"estimate from so many rows; by default {BY_DEFAULT.rows:,} where there are more "
        f"than {BY_DEFAULT.above:,} that are not prepared yet",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, and end with an error where it does not fit."""
    asked = target.read(arguments.target, arguments.overrides, to_train=True)
    from tunesmith.training.report import Silent, report_for, width_of

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    from tunesmith.training import run as training

    plan, material = training.plan(
        asked, report, device=arguments.device, sampling=_sampling(arguments)
    )
    report.close()
    refusal = _refusal(asked, material, plan)
    if arguments.json:
        told = plan.as_dict() | ({"refused": refusal.as_dict()} if refusal else {})
        print(json.dumps(told, ensure_ascii=False))
        return refusal.exit_code if refusal else 0
    print(printable(plan.text(width_of(sys.stdout))), flush=True)
    if refusal:
        raise refusal
    return 0


def _rows(text: str) -> int:
    """A number of rows on the command line."""
    plain = text.replace(",", "").replace("_", "")
    if not (plain.isascii() and plain.isdigit() and int(plain)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows, 1 or more")
    return int(plain)


def _sampling(arguments: argparse.Namespace) -> Sampling | None:
    """Of how many rows a sample is to stand for all."""
    from tunesmith.data.sampled import BY_DEFAULT, Sampling

    if arguments.exact:
        return None
    rows = arguments.sample
    return Sampling(above=rows, rows=rows, asked=True) if rows else BY_DEFAULT


def _refusal(asked: Run, material: Material, plan: Plan) -> Error | None:
    """Why it could not be carried out: it is printed all the same."""
    from tunesmith.training import run as training

    try:
        training.refuse_too_large(asked, material, plan)
    except Error as error:
        return error
    return None
