"""`tunesmith init data.jsonl --model DIR`: look at data and model, write a run file."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith import store
from tunesmith.cli.command import following
from tunesmith.data.formats.detect import Layout, detect
from tunesmith.errors import DataError, OutputError

_LOOKED_AT = 200
_KEPT_SHARE = 0.99
_HELD_OUT = 0.1
_ENOUGH_TO_HOLD_OUT = 10
_WIDE = 4096
"""Width of a model whose config does not tell it: the careful guess."""


class Found(NamedTuple):
    """What data and model turn out to be."""

    rows: int
    """That can be used."""
    lengths: list[int]
    """Tokens of every text that is learned from; a row can become several."""
    template: str | None
    """To name in the run file; `None`: the model's own."""
    context: int | None
    """Tokens that the model was made for."""
    width: int
    """Of the model."""
    bad: int
    """Rows that cannot be used."""
    ledger: list[str]


def options(parser: argparse.ArgumentParser) -> None:
    """The data, the model, the run file."""
    parser.add_argument(
        "data",
        type=Path,
        help="a .json or .jsonl file of rows; it is entered in dataset_info.json beside it",
    )
    parser.add_argument("--model", required=True, help="directory, .gguf, package: or hub id")
    parser.add_argument(
        "--to", type=Path, default=Path("run.yaml"), metavar="FILE",
        help="the run file to write; default: run.yaml",
    )  # fmt: skip
    parser.add_argument("--template", help="chat template; default: the model's own")


def run(arguments: argparse.Namespace) -> int:
    """Look, decide, write, say what was decided."""
    from tunesmith.data.ledger import counted
    from tunesmith.data.rows import Row, open_sources, rows
    from tunesmith.training.report import Silent, report_for

    to: Path = arguments.to
    if to.exists():
        raise OutputError(
            str(to), got="a file that already exists; it is not overwritten",
            need="the name of a new run file", hint=f"--to {_free(to)}",
        )  # fmt: skip
    report = Silent() if arguments.json else report_for(sys.stderr)
    read = (row for source in open_sources(arguments.data) for row in rows(source, "data"))
    first = [row for _, row in zip(range(_LOOKED_AT), read, strict=False)]
    layout = detect(str(arguments.data), [row.values for row in first if isinstance(row, Row)])
    entered = enter(arguments.data, layout)
    _refuse_unfit(arguments.data, entered)
    found = _measure(arguments, entered.entry, report)
    report.close()
    if entered.is_new:
        store.write_json(entered.file, entered.registry)
    cutoff = cutoff_for(found.lengths, found.context)
    store.write_text(to, _text(arguments, entered, found, cutoff))
    facts = {
        "run_file": str(to), "registry": f"{entered.file}: {entered.name} ({entered.said})",
        "layout": layout.said, "template": found.template or "the model's own",
        "rows": found.rows,
        **({"examples": len(found.lengths)} if len(found.lengths) != found.rows else {}),
        "cutoff_len": cutoff,
    }  # fmt: skip
    skip = ["on_bad_row=skip"] if found.bad else []
    if arguments.json:
        print(json.dumps({**facts, "bad_rows": found.bad, "ledger": found.ledger}))
        return 0
    print("\n".join(f"  {key:<12} {value}" for key, value in facts.items()))
    print("\n".join(f"  {line}" for line in found.ledger))
    if found.bad:
        print(
            f"note: plan and train refuse this data while {counted(found.bad)} of it cannot be "
            "used: repair what is named above, or leave such rows out with on_bad_row=skip"
        )
    print(following("plan", to, *skip))
    return 0


def cutoff_for(lengths: Sequence[int], context: int | None) -> int:
    """A cutoff that keeps 99 % of the rows whole: a multiple of 64, within the model's context."""
    ordered = sorted(lengths)
    enough = ordered[math.ceil(_KEPT_SHARE * len(ordered)) - 1]
    rounded = max(128, -(-enough // 64) * 64)
    return rounded if context is None else min(rounded, context)


class Entered(NamedTuple):
    """The data in the registry beside it."""

    file: Path
    """`dataset_info.json`."""
    name: str
    registry: dict[str, Any]
    """Its content with the entry."""
    is_new: bool
    said: str

    @property
    def entry(self) -> dict[str, Any]:
        """Of the data."""
        return self.registry[self.name]


def enter(data: Path, layout: Layout) -> Entered:
    """The registry that stands beside the data, with an entry for it; nothing is written.

    An entry that somebody has made for the same file is used as it is.
    """
    from tunesmith.data.registry import FILE_NAME
    from tunesmith.data.strict_json import load

    file = data.parent / FILE_NAME
    there = file.is_file()
    registry = load(file)[0] if there else {}
    if not isinstance(registry, dict):
        raise DataError(str(file), got="no object", need="an object: name -> entry")
    stem = data.name.split(".")[0]
    for number in itertools.count(1):
        name = stem if number == 1 else f"{stem}-{number}"
        entry = registry.get(name)
        if entry is None:
            entry = {"file_name": data.name, **layout.entry}
            said = "entry added" if there else "new file"
            return Entered(file, name, {**registry, name: entry}, True, said)
        if isinstance(entry, dict) and entry.get("file_name") == data.name:
            return Entered(file, name, registry, False, "the entry that is there")
    raise AssertionError("one of endlessly many names is free")


def _refuse_unfit(data: Path, entered: Entered) -> None:
    """Rows that are no answers to learn are told before a model is asked for."""
    from tunesmith.data.entry import Reader
    from tunesmith.data.purpose import of_answers

    def place(*path: str) -> str:
        return f"{entered.file}: {'.'.join((entered.name, *path))}"

    of_answers([Reader(entered.name, data.parent, place).entry(entered.entry)])


def _free(to: Path) -> Path:
    names = (to.with_stem(f"{to.stem}-{number}") for number in itertools.count(2))
    return next(name for name in names if not name.exists())


def _measure(arguments: argparse.Namespace, entry: dict[str, Any], report: Any) -> Found:
    """Read all rows with the model's tokenizer and the template that there will be."""
    import tempfile

    from tunesmith.data.prepare import prepare
    from tunesmith.models import source, tokenizer
    from tunesmith.templates import choose
    from tunesmith.templates.choose import candidates

    directory = source.fetch(arguments.model, weights=False, progress=report.work)
    loaded = tokenizer.load(directory)
    template = arguments.template
    if template is None and not loaded.chat_template:
        template = candidates(loaded)[0]
    with tempfile.TemporaryDirectory() as folder:
        here = {**entry, "file_name": str(arguments.data.resolve())}
        store.write_json(Path(folder) / "dataset_info.json", {"data": here})
        prepared = prepare(
            dataset=["data"], dataset_dir=Path(folder), renderer=choose(template, loaded),
            tokenizer=loaded, cutoff_len=1 << 30, on_bad_row="skip",
            progress=lambda done: report.work("tokenising", done, None),
        )  # fmt: skip
    report.close()
    config = json.loads((directory / "config.json").read_text(encoding="utf8"))
    return Found(
        sum(account.used for account in prepared.ledger.files.values()),
        prepared.train.lengths.tolist(),
        template,
        config.get("max_position_embeddings"),
        int(config.get("hidden_size") or config.get("n_embd") or _WIDE),
        prepared.ledger.bad,
        prepared.ledger.lines(),
    )


def _text(arguments: argparse.Namespace, entered: Entered, found: Found, cutoff: int) -> str:
    from tunesmith.data.ledger import counted
    from tunesmith.data.split import held_out_rows
    from tunesmith.training.sizing import in_yaml, sized

    to: Path = arguments.to
    schema = Path(__file__).parent.parent / "config" / "schema.json"
    template = found.template
    line = f"template: {template}" if template else "# template: the model's own chat template"
    rows = found.rows
    holds_out = rows >= _ENOUGH_TO_HOLD_OUT
    kept = rows - held_out_rows(rows, _HELD_OUT) if holds_out else rows
    learned = round(len(found.lengths) * kept / rows)
    size = sized(learned, found.width)
    why = "".join(f"# {line}\n" for line in textwrap.wrap(size.why(learned), 96))
    held = (
        f"val_size: {_HELD_OUT}"
        if holds_out
        else f"# val_size: {counted(rows)} are too few to hold any out"
    )
    evaluation = "\n### eval\neval_strategy: epoch\n" if holds_out else ""
    return f"""\
# yaml-language-server: $schema={schema}
# Written by `tunesmith init`. What a key does: tunesmith config explain KEY
# Paths are relative to the directory in which the commands are typed.
#
#   tunesmith plan {to}
#   tunesmith train {to}
#   tunesmith chat {to}

### model
model_name_or_path: {json.dumps(arguments.model)}

### method
stage: sft
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: {entered.name}
dataset_dir: {json.dumps(str(entered.file.parent))}
{line}
cutoff_len: {cutoff}
{held}

### output
output_dir: {json.dumps(f"runs/{to.stem}-{entered.name}")}
logging_steps: {size.logging_steps}
plot_loss: true

### train
{why}per_device_train_batch_size: 1
gradient_accumulation_steps: {size.batch}
learning_rate: {in_yaml(size.learning_rate)}
num_train_epochs: {size.epochs}
lr_scheduler_type: cosine
warmup_ratio: 0.1
{evaluation}"""
