"""`tunesmith eval run.yaml --tasks hellaswag,arc_easy`: standard benchmarks, by lm-eval."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.written import new_file
from tunesmith.errors import ConfigError
from tunesmith.store.files import write_text

if TYPE_CHECKING:
    from tunesmith.config.run import Run


def options(parser: argparse.ArgumentParser) -> None:
    """Which benchmarks, and how."""
    parser.add_argument("--tasks", help="names of lm-eval's benchmarks, between commas")
    parser.add_argument("--shots", type=int, help="examples before each question")
    parser.add_argument(
        "--limit", type=int, help="questions of each benchmark; a sample, not a score"
    )
    parser.add_argument("--include", type=Path, metavar="DIR", help="task files of your own")
    parser.add_argument("--chat", action="store_true", help="ask in the template of the model")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write all figures as JSON")


def run(asked: Run, arguments: argparse.Namespace) -> int:
    """Measure and print."""
    names = tuple(filter(None, (name.strip() for name in arguments.tasks.split(","))))
    _refuse(names, arguments)
    from tunesmith.cli import answering
    from tunesmith.eval import tasks
    from tunesmith.training.memory.solve import MICRO_BATCH_TOKENS
    from tunesmith.training.report import Silent, report_for

    wanted = tasks.Asked(names, arguments.shots, arguments.limit, arguments.include, arguments.chat)
    manager = tasks.known(wanted)
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    report = Silent() if arguments.json else report_for(sys.stderr)
    found = answering.find(asked, report)
    model = answering.load(asked, found, base_only=arguments.base)
    engine = found.engine(model)
    speaking = tasks.Speaking(
        model, found.tokenizer, found.renderer, engine.stop_ids, engine.stop_texts,
        answering.sampling(asked, found),
    )  # fmt: skip
    harness = tasks.Harness(
        speaking, max_tokens=MICRO_BATCH_TOKENS[model.device.type], progress=report.work
    )
    results = tasks.measure(harness, wanted, manager)
    report.close()
    notes = [*found.notes, *_notes(harness.cut, arguments)]
    text = json.dumps({**results, "notes": notes}, ensure_ascii=False, default=str, indent=2)
    if arguments.results:
        write_text(arguments.results, text + "\n")
    if arguments.json:
        print(json.dumps(json.loads(text), ensure_ascii=False))
        return 0
    print("".join(f"note: {note}\n" for note in notes), end="")
    print(f"the base model {found.served.model}" if arguments.base else found.served.note)
    rows = tasks.table(results)
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"  {name:<{width}}  {figure}" for name, figure in rows))
    return 0


def refuse_without_tasks(arguments: argparse.Namespace) -> None:
    """Refuse what would change nothing about the loss on held-out rows.

    Raises:
        ConfigError: an option of benchmarks, and none is named.
    """
    for key in ("shots", "limit", "include", "chat", "results"):
        value = getattr(arguments, key)
        if value is not None and value is not False:  # 0 was asked for
            raise ConfigError(
                f"command line: --{key}", got="no --tasks", need="benchmarks to act on",
                hint="--tasks arc_easy,hellaswag; held-out rows are measured all, in full",
            )  # fmt: skip


def _refuse(names: tuple[str, ...], arguments: argparse.Namespace) -> None:
    """What cannot be measured, before anything is loaded."""
    if not names:
        raise ConfigError(
            "command line: --tasks", got=arguments.tasks, need="names between commas",
            hint="--tasks arc_easy,hellaswag",
        )  # fmt: skip
    for flag, value, least in (("--shots", arguments.shots, 0), ("--limit", arguments.limit, 1)):
        if value is not None and value < least:
            raise ConfigError(f"command line: {flag}", got=value, need=f"{least} or more")
    if arguments.include is not None and not arguments.include.is_dir():
        raise ConfigError(
            "command line: --include", got=arguments.include, need="a directory with task files"
        )
    if arguments.results is not None:
        new_file("--results", arguments.results, what="figures", is_one=_are_figures)
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "command line: --tasks", need="lm-eval, which is not installed",
            hint='pip install "tunesmith[lm-eval]"',
        )  # fmt: skip


def _are_figures(path: Path) -> bool:
    """Whether a file holds what an earlier command wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"results", "notes"} <= found.keys()


def _notes(cut: int, arguments: argparse.Namespace) -> list[str]:
    found = []
    if cut:
        found.append(
            f"{cut:,} questions were longer than the context: their beginnings were left out"
        )
    if arguments.limit is not None:
        found.append(f"the first {arguments.limit:,} questions of each task: these are no scores")
    return found
