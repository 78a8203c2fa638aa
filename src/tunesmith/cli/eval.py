"""`tunesmith eval run.yaml`: loss of a model on the held-out rows of its run, or benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from tunesmith.cli import eval_tasks, target
from tunesmith.config.dataset import names_of
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.data.prepare import Prepared

_SPLIT = ("dataset", "dataset_dir", "val_size", "max_samples", "seed")
"""Keys that decide which rows are held out."""
_FIT = (
    "template", "default_system", "tool_format", "enable_thinking", "preserve_thinking",
    "cutoff_len", "truncation", "on_bad_row", "train_on_prompt", "mask_history",
    "split_special_tokens",
)  # fmt: skip
"""Keys that decide which rows there are to choose from, and how each of them reads."""


def options(parser: argparse.ArgumentParser) -> None:
    """Which model is measured."""
    parser.add_argument("--base", action="store_true", help="the base model, without the adapter")
    eval_tasks.options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from tunesmith.cli.engines import refuse_vllm

    asked = target.read(arguments.target, arguments.overrides)
    refuse_vllm(asked, "eval")
    if arguments.tasks is not None:
        return eval_tasks.run(asked, arguments)
    eval_tasks.refuse_without_tasks(arguments)
    if not asked.holds_out:
        raise ConfigError(
            asked.where("val_size"), got="no held-out rows", need="rows to evaluate on",
            hint="val_size=0.1, or eval_dataset=NAME",
        )  # fmt: skip
    from tunesmith.config.load import require

    require(asked, "model_name_or_path", "dataset" if asked.dataset.val_size else "eval_dataset")
    from tunesmith.cli import answering
    from tunesmith.compute.attention import isolation
    from tunesmith.data.media.feed import Feed
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training.material import examples
    from tunesmith.training.memory.solve import MICRO_BATCH_TOKENS
    from tunesmith.training.report import Silent, report_for
    from tunesmith.training.seeing import family_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    found = answering.find(asked, report, on_the_day_of_training=True)
    split = found.split_special_tokens
    asked = mixed_as_trained(asked, found)
    family = family_for(asked, found.directory, found.tokenizer)
    prepared = examples(
        asked, found.renderer, found.tokenizer, report, split_special_tokens=split, family=family
    )
    model = answering.load(asked, found, base_only=arguments.base)
    see = Feed(family, alone=family is not None and isolation(model) != "varlen")
    metrics = evaluate(
        model,
        prepared.eval,
        max_tokens=see.room(MICRO_BATCH_TOKENS[model.device.type]),
        see=see,
        want_accuracy=True,
        each_dataset=asked.eval.eval_on_each_dataset,
        progress=lambda done, total: report.work("evaluating", done, total),
    )
    report.close()
    notes = [*found.notes, *([] if arguments.base else trained_on(asked, found, prepared))]
    if arguments.json:
        print(json.dumps({**metrics, "notes": notes}, ensure_ascii=False))
        return 0
    print("".join(f"note: {note}\n" for note in notes), end="")
    what = f"the base model {found.served.model}" if arguments.base else found.served.note
    print(f"{what} on {len(prepared.eval)} held-out rows")
    width = max(26, *map(len, metrics))
    print("\n".join(f"  {key:<{width}} {value:,.6g}" for key, value in metrics.items()))
    return 0


def mixed_as_trained(asked: Run, found: Found) -> Run:
    """The run with the mix of its training: it decides nothing about held-out rows, but whether
    the training rows of today are known again.
    """
    before = target.trained(found.directory if not found.adapters else found.adapters[-1])
    if before is None or before.run.dataset.dataset != asked.dataset.dataset:
        return asked
    mix = {key: getattr(before.run.dataset, key) for key in ("mix_strategy", "interleave_probs")}
    return asked.model_copy(update={"dataset": asked.dataset.model_copy(update=mix)})


def trained_on(asked: Run, found: Found, prepared: Prepared) -> list[str]:
    """Why some of the rows measured may be rows that were learned from; empty as a rule.

    Where the training rows of today are, to the id, those that were learned, the rows held out
    beside them were not; which keys differ tells nothing then.
    """
    before = target.trained(found.directory if not found.adapters else found.adapters[-1])
    if before is None:
        return []
    from tunesmith.data.split import fingerprint

    trained = before.run
    both = [item for item in asked.dataset.eval_dataset if item in trained.dataset.dataset]
    twice = sorted(names_of(tuple(both)))
    if twice:
        return [f"the model was trained on {', '.join(twice)}: this is no held-out loss"]
    if not asked.dataset.val_size:
        names = ", ".join(names_of(asked.dataset.dataset))
        leaked = f"{prepared.num_leaked:,} of these rows are rows of {names}"
        return [f"{leaked}, which the run trains on"] if prepared.num_leaked else []
    as_watched = [fingerprint(prepared.train, held) for held in (None, prepared.eval)]
    if before.identity.get("data") in as_watched:
        return []
    for keys, so in (
        (_SPLIT, "it held out other rows, some of these were trained on"),
        (_FIT, "other rows may have been held out then: some of these may have been trained on"),
    ):
        differing = [key for key in keys if _split(asked, key) != _split(trained, key)]
        if differing:
            said = ", ".join(f"{key} {_split(trained, key)}" for key in differing)
            return [f"the training run had {said}: {so}"]
    return [
        "the rows behind the same keys have changed since the training: other rows are held out "
        "now, some of these may have been trained on"
    ]


def _split(run: Run, key: str) -> Any:
    if key == "dataset_dir":
        return str(run.dataset.dataset_dir.resolve())
    value = getattr(run.train if key == "seed" else run.dataset, key)
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
