"""`tunesmith data show run.yaml`: some rows as they are learned, token by token."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli import rows_text, target
from tunesmith.cli.written import new_file
from tunesmith.errors import printable

if TYPE_CHECKING:
    from tunesmith.config.run import Run
    from tunesmith.data.show import Showing

_ON_A_PAGE = 100  # rows, where nobody says how many


def options(parser: Any) -> None:
    """Which rows, and where to."""
    parser.add_argument(
        "-n", type=_count, metavar="N", dest="count",
        help="so many rows, spread over the first 1,000 of each dataset (seed=2 takes others); "
        f"else 3, on a page {_ON_A_PAGE}",
    )  # fmt: skip
    parser.add_argument(
        "--row", action="append", metavar="FILE:LINE",
        help="the row that begins there, as errors name it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write one page that needs nothing else"
    )


def show(arguments: argparse.Namespace) -> int:
    """Print the rows, or write the page."""
    page = None if arguments.html is None else _page(arguments.html)
    asked = target.read(arguments.name, arguments.overrides, to_train=True)
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    report.say(target.reading(asked))
    count = _ON_A_PAGE if arguments.count is None and page else arguments.count
    found, template = _found(asked, report, count, arguments.row or ())
    report.close()
    if page is not None:
        facts = {
            "model": str(asked.model.model_name_or_path),
            "template": template,
            "cutoff_len": str(asked.dataset.cutoff_len),
        }
        _write(page, found, facts, arguments)
    elif arguments.json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        rows_text.show(found)
    return 0


def _found(asked: Run, report: Any, count: int | None, places: Any) -> tuple[Showing, str]:
    from tunesmith.data.show import show as rows_of
    from tunesmith.training import reach, reading

    wording, dataset = reading.wording(asked, report), asked.dataset
    reach.refuse_elsewhere(asked)
    found = rows_of(
        dataset=dataset.dataset,
        eval_dataset=dataset.eval_dataset,
        dataset_dir=dataset.dataset_dir,
        renderer=wording.renderer,
        tokenizer=wording.tokenizer,
        cutoff_len=dataset.cutoff_len,
        max_samples=dataset.max_samples,
        seed=asked.train.seed,
        train_on_prompt=dataset.train_on_prompt,
        mask_history=dataset.mask_history,
        split_special_tokens=dataset.split_special_tokens,
        truncation=dataset.truncation,
        where=asked.where,
        access=reach.access(asked),
        count=count,
        places=places,
    )
    return found, wording.renderer.name


def _write(
    path: Path, found: Showing, facts: dict[str, str], arguments: argparse.Namespace
) -> None:
    from tunesmith import store
    from tunesmith.data.ledger import counted
    from tunesmith.data.page import html

    store.write_text(path, html.page(found, str(arguments.name), facts))
    if arguments.json:
        print(json.dumps({"html": str(path), "rows": len(found.rows)}, ensure_ascii=False))
        return
    for line in (*found.chosen, *found.notes):
        print(printable(line))
    print(printable(f"{path}: {counted(len(found.rows))}; open it in a browser"))


def _page(path: Path) -> Path:
    """Where the page goes."""
    from tunesmith.data.page import html

    return new_file("--html", path, what="a `data show` page", is_one=html.is_ours)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: need a number of rows, at least 1")
    return int(text)
