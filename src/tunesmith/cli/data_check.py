"""`tunesmith data check run.yaml`: what becomes of every row, and what is wrong with some."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.cli import target
from tunesmith.cli.command import clean, command, without_bad_rows
from tunesmith.errors import Error, printable

if TYPE_CHECKING:
    from tunesmith.config.run import Run
    from tunesmith.data.report import Outcome


def show(arguments: argparse.Namespace) -> int:
    """Print the account; 2 where a run stops at these rows."""
    asked = target.read(arguments.name, arguments.overrides, to_train=True)
    from tunesmith.data import report as account
    from tunesmith.data.purpose import UnfitError
    from tunesmith.data.report import Outcome
    from tunesmith.training import reading
    from tunesmith.training.report import Silent, report_for, width_of

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    try:
        data = Outcome.of(reading.read(asked, report, whole=True).data)
    except UnfitError as error:  # its rows are told all the same
        data = Outcome(reading.survey(asked).ledger, error)
    report.close()
    data.ledger.notes[:0] = _idle(asked)
    following = _next(arguments, data.refusal)
    if arguments.json:
        print(json.dumps({**account.as_dict(data), "next": following}, ensure_ascii=False))
    else:
        print(printable(account.text(data, width=width_of(sys.stdout))))
        print(printable("\n".join(_closing(data, following))))
    return 2 if data.refusal else 0


def _idle(asked: Run) -> list[str]:
    """What is said of keys about data that have nothing to act on."""
    from tunesmith.config.dataset import Dataset

    keys = (*Dataset.model_fields, "eval_on_each_dataset")
    places = tuple(f"{asked.places[key]} " for key in keys if key in asked.places)
    return [note for note in asked.notes if note.startswith(places)]


def _next(arguments: argparse.Namespace, refusal: Error | None) -> list[str]:
    """What to type next, the command that trains last; nothing where no row is left."""
    train = ["train", arguments.name, *arguments.overrides]
    if refusal is None:
        return [command(*train)]
    others = getattr(refusal, "others", "")
    return [clean(arguments), command(*without_bad_rows(train))] if others else []


def _closing(data: Outcome, following: list[str]) -> Iterator[str]:
    from tunesmith.data.ledger import BadRows

    if data.refusal is None:
        bad = data.ledger.bad
        yield f"a run goes on; left out as bad: {bad:,}" if bad else "nothing stops a run"
    elif isinstance(data.refusal, BadRows) and not following:
        yield "a run stops: no row is left to learn from"  # the bad ones are told above
    elif not following:
        yield f"a run stops: {data.refusal}"
    heads = ("next", "or") if len(following) > 1 else ("next",)
    for head, line in zip(heads, following, strict=False):
        yield f"{head:<8}{line}"
