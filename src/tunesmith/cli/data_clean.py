"""`tunesmith data clean run.yaml --output DIR`: the rows of a run, sorted into files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli import target
from tunesmith.cli.command import clean as clean_of
from tunesmith.cli.command import command
from tunesmith.errors import ConfigError, printable

if TYPE_CHECKING:
    from tunesmith.data.clean import Cleaned

_OF_THE_DATA = ("dataset_dir=", "on_bad_row=")


def options(parser: argparse._ActionsContainer) -> None:
    """Where the files go."""
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="a new directory, or an empty one"
    )


def show(arguments: argparse.Namespace) -> int:
    """Write the files; what to type next is the last line."""
    if arguments.output is None:
        need = "--output DIR: where the rows go that can be used, and the others"
        raise ConfigError("command line: data clean", need=need, hint=clean_of(arguments))
    asked = target.read(arguments.name, arguments.overrides, to_train=True)
    from tunesmith.data import clean
    from tunesmith.training import reading
    from tunesmith.training.report import Silent, report_for

    clean.refuse_full(arguments.output)
    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    data = reading.read(asked, report, whole=True).data
    cleaned = clean.clean(
        data, arguments.output, max_samples=asked.dataset.max_samples, seed=asked.train.seed
    )
    report.close()
    following = _next(arguments, cleaned, [*asked.dataset.dataset], [*asked.dataset.eval_dataset])
    if arguments.json:
        said = {"output": str(arguments.output), "files": [f._asdict() for f in cleaned.files]}
        said |= {"notes": list(cleaned.notes), "next": following}
        print(json.dumps(said, ensure_ascii=False))
        return 0
    print(printable("\n".join([*_told(cleaned, arguments.output), f"next    {following}"])))
    return 0


def _told(cleaned: Cleaned, output: Path) -> list[str]:
    from tunesmith.data.clean import REJECTED
    from tunesmith.data.ledger import counted

    rows = [
        (one.file, counted(one.kept + one.rejected), f"{one.kept:,}", f"{one.rejected:,}", one.path)
        for one in cleaned.files
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{file:<{widths[0]}}  {read:>{widths[1]}} read = {kept:>{widths[2]}} kept"
        f" + {bad:>{widths[3]}} rejected"
        for file, read, kept, bad, _ in rows
    ]
    rejected = sum(one.rejected for one in cleaned.files)
    lines += [f"only these rows are here: {note}" for note in cleaned.notes]
    paths = dict.fromkeys(one.path.split("/")[0] for one in cleaned.files if one.kept)
    lines += ["", f"kept      {', '.join(f'{output / path}' for path in paths)}"]
    if rejected:
        lines.append(f"rejected  {output / REJECTED}, each with its reason and place")
    return lines


def _next(
    arguments: argparse.Namespace, cleaned: Cleaned, dataset: list[object], held_out: list[object]
) -> str:
    """The command that trains on the kept rows."""
    words = [word for word in arguments.overrides if not word.startswith(_OF_THE_DATA)]
    for key, left, asked in (
        ("dataset", cleaned.datasets, dataset),
        ("eval_dataset", cleaned.eval_datasets, held_out),
    ):
        if list(left) != asked:  # entries inline in the run file, datasets without a good row
            words = [word for word in words if not word.startswith(f"{key}=")]
            words.append(f"{key}={','.join(left)}")
    return command("train", arguments.name, *words, f"dataset_dir={arguments.output}")
