"""`tunesmith data check run.yaml`: what becomes of every row, and what is wrong with some."""

from __future__ import annotations

import argparse
import json
import sys

from tunesmith.cli import target
from tunesmith.errors import printable


def show(arguments: argparse.Namespace) -> int:
    """Print the report; 2 where the rows would stop the run."""
    asked = target.read(arguments.name, arguments.overrides, to_train=True)
    from tunesmith.training import reading
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    found = reading.read(asked, report)
    report.close()
    if arguments.json:
        print(json.dumps(found.data.ledger.as_dict(), ensure_ascii=False))
    else:
        print(printable("\n".join(found.data.ledger.lines())))
    return 0
